"""Slim variables and Keras weights: one naming, read in both directions, and a bijection between the two.

A layer's name is its slim scope with ``__`` for ``/``, so the mapping of a whole network is that substitution and the
table of leaf names below. It needs no list per network and holds for a model that was saved and loaded again.
"""

from collections.abc import Mapping, Set

import keras
import ml_dtypes
import numpy as np

import checkpoints
from converters.differences import differences
from converters.errors import ConversionError, DifferencesError
from mobilenets import SCOPES, slim_name

# Layer type -> {name of the Keras weight: last part of the slim variable's name}.
LEAVES = {
    keras.layers.Conv2D: {"kernel": "weights", "bias": "biases"},
    keras.layers.DepthwiseConv2D: {"kernel": "depthwise_weights", "bias": "biases"},
    keras.layers.SeparableConv2D: {
        "depthwise_kernel": "depthwise_weights",
        "pointwise_kernel": "pointwise_weights",
        "bias": "biases",
    },
    keras.layers.BatchNormalization: {
        "gamma": "gamma",
        "beta": "beta",
        "moving_mean": "moving_mean",
        "moving_variance": "moving_variance",
    },
}

HALF_TYPES = ("float16", "bfloat16")
"""Types of weights that a dtype policy asks for, although they cannot keep the values of a checkpoint."""

# The variables of a network that no optimizer touches, by leaf; all others are trainable.
MOVING_STATISTICS = ("moving_mean", "moving_variance")


def leaf(name: str) -> str:
    """Returns the last part of a slim variable's name."""
    return name.rpartition("/")[2]


def is_trainable(name: str) -> bool:
    """Returns whether slim trains the variable ``name`` (moving statistics are updated, not trained)."""
    return leaf(name) not in MOVING_STATISTICS


def logits_names(family: str) -> tuple[str, str]:
    """Returns the variables of a family's classification layer: weights, biases."""
    scope = f"{SCOPES[family]}/Logits/Conv2d_1c_1x1"
    return f"{scope}/weights", f"{scope}/biases"


def is_logits(name: str) -> bool:
    """Returns whether a slim variable belongs to the classification layer; other layers under ``Logits/`` do not."""
    return any(name in logits_names(family) for family in SCOPES)


def weights_by_slim_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every weight of ``model`` under the name of its slim variable.

    Args:
        model: a network of this project, built, converted or loaded.

    Raises:
        ConversionError: the model has weights outside the slim scopes, or of a layer type that slim does not know.
    """
    by_name, foreign = {}, []
    for layer in model.layers:
        # A dropout's seed is state, and on some backends counted as a weight.
        if not layer.weights or isinstance(layer, keras.layers.Dropout):
            continue
        leaves = next((table for kind, table in LEAVES.items() if isinstance(layer, kind)), None)
        if leaves is None or not layer.name.startswith(tuple(scope + "__" for scope in SCOPES.values())):
            foreign.append(layer.name)
            continue
        scope = slim_name(layer.name)
        by_name.update({f"{scope}/{leaves[weight.name]}": weight for weight in layer.weights})
    if foreign:
        raise ConversionError(
            f"The layers {', '.join(foreign)} of the model {model.name!r} hold weights but belong to no slim scope "
            f"({', '.join(SCOPES.values())}); pass the network that was built or converted here, without layers of "
            "your own."
        )
    if not by_name:
        raise ConversionError(f"The model {model.name!r} has no weights of a slim network.")
    return by_name


def family_of(model: keras.Model) -> str:
    """Returns the family whose scope is in the names of the layers of ``model``.

    Raises:
        ConversionError: it has weights outside the slim scopes, or none.
    """
    scope = next(iter(weights_by_slim_name(model))).partition("/")[0]
    return next(family for family, known in SCOPES.items() if known == scope)


def assign(
    model: keras.Model,
    variables: Mapping[str, np.ndarray],
    source: str = "The mapping",
    leave: Set[str] = frozenset(),
) -> None:
    """Sets every weight of ``model`` from the slim variable of its name; all fit, or nothing is changed.

    Weights of 16 bits take the nearest value; see `rounding_note`.

    Args:
        model: a network of this project.
        variables: ``{slim name: array}``; exactly those of the network. Arrays are read one at a time.
        source: what to call the variables in an error.
        leave: slim names of weights that keep their initial values (a new classification layer).

    Raises:
        ConversionError: a variable is missing, left over or misshapen, or would lose precision in float32; the message
            counts them and lists the first, `DifferencesError.differences` has all.
    """
    weights = {name: weight for name, weight in weights_by_slim_name(model).items() if name not in leave}
    arrays = checkpoints.open_variables(variables)
    differing = differences({name: tuple(weight.shape) for name, weight in weights.items()}, arrays.shapes)
    if differing:
        raise DifferencesError(f"{source} does not fit {model.name} ({len(weights)} variables)", differing)
    lossy = [
        name
        for name, weight in weights.items()
        if weight.dtype not in HALF_TYPES and is_narrower(weight.dtype, arrays.dtypes[name])
    ]
    if lossy:
        raise ConversionError(
            f"{source} holds {arrays.dtypes[lossy[0]]} values that {weights[lossy[0]].dtype} weights cannot keep "
            f"exactly ({len(lossy)} variables, {lossy[0]} first); build the model under that dtype policy."
        )
    for name, weight in weights.items():
        weight.assign(arrays[name])


def slim_variables(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of ``model`` as ``{slim variable name: array}``: the inverse of `assign`.

    Raises:
        ConversionError: the model has weights outside the slim scopes.
    """
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in weights_by_slim_name(model).items()}


def rounding_note(model: keras.Model, dtypes: Mapping[str, np.dtype], source: str) -> str | None:
    """Returns a sentence on weights that cannot keep every value of their variable; None if all can.

    Args:
        model: a network of this project.
        dtypes: ``{slim name: dtype}`` of the variables.
        source: what to call the variables.
    """
    rounded = {
        name: weight.dtype
        for name, weight in weights_by_slim_name(model).items()
        if name in dtypes and is_narrower(weight.dtype, dtypes[name])
    }
    if not rounded:
        return None
    name, dtype = next(iter(rounded.items()))
    return (
        f"{len(rounded)} variables of {source} are rounded from {np.dtype(dtypes[name])} to {dtype}, the type of the "
        "model's weights. A float32 or mixed policy keeps them exactly."
    )


def is_narrower(dtype: str | np.dtype, other: np.dtype) -> bool:
    """Returns whether a type of floats lacks values of another: float16 those of float32, bfloat16 those of float16."""
    types = [np.dtype(getattr(ml_dtypes, name, name)) for name in (np.dtype(other).name, str(dtype))]
    return np.promote_types(*types) != types[1]
