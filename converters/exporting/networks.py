"""Whether a model is a network that other libraries build too."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

import mobilenets
from converters.errors import ConversionError
from converters.structure import network_arguments, structure, structure_differences
from mobilenets.random_values import without_random_values

FAMILIES = ("mobilenet_v1", "mobilenet_v2")


def network_for(
    model: keras.Model,
    library: str,
    choices: Mapping[str, Sequence[Mapping[str, int]]] = MappingProxyType({}),
    families: Sequence[str] = FAMILIES,
) -> tuple[str, dict[str, Any]]:
    """Finds the arguments of the constructor that builds a model, for a library with few options.

    Args:
        model: a network of this project.
        library: its name, for the message.
        choices: family -> the options on strides that the library can express, none first; by default none.
        families: those that the library has.

    Returns:
        The family and the arguments.

    Raises:
        ConversionError: the model is of another family, was changed, or has options that the library lacks.
    """
    network, arguments = network_arguments(model)
    family = network.family
    if family not in families:
        raise ConversionError(f"{library} has no {family}; it has {' and '.join(families)}.")
    layers = structure(model)
    nearest: dict[str, str] = {}
    for options in choices.get(family, ({},)):
        with without_random_values():
            expected = structure(mobilenets.CONSTRUCTORS[family](**arguments, **options))
        differing = structure_differences(layers, expected)
        if not differing:
            return family, {**arguments, **options}
        nearest = nearest or differing
    layer, text = next(iter(nearest.items()))
    raise ConversionError(
        f"{model.name} is not a network that {library} has: {len(nearest)} layers differ, "
        f"{mobilenets.slim_name(layer)} first: {text}."
    )
