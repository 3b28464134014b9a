"""What a model computes with its weights, layer by layer: types, strides, padding, epsilon, activations, connections.

Equal weights are half a proof: a file whose epsilon, stride or activation was changed holds the same weights and is
another network. So the structure is compared with the network of the configuration as well, and a manifest pins it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

import mobilenets
from converters.backbones import cut
from converters.differences import differences
from converters.opening import is_folded
from converters.recognition import Network, recognise
from converters.weights import weights_by_slim_name
from mobilenets.blocks import rescales_inputs
from mobilenets.families import FAMILIES
from mobilenets.fusing import sources_of
from mobilenets.random_values import without_random_values

_KERNEL = ("kernel_size", "strides", "padding", "dilation_rate", "data_format", "activation", "use_bias")
_POOL = ("pool_size", "strides", "padding", "data_format")

# Layer type -> the arguments that its outputs depend on. What matters to training alone (initializers, regularizers,
# momentum, dropout's rate) or to the precision (dtypes) is left out, and so is what only newer versions of Keras know.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "Rescaling": ("scale", "offset"),
    "Conv2D": ("filters", "groups", *_KERNEL),
    "DepthwiseConv2D": ("depth_multiplier", *_KERNEL),
    "SeparableConv2D": ("filters", "depth_multiplier", *_KERNEL),
    "BatchNormalization": ("axis", "epsilon", "center", "scale"),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Activation": ("activation",),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalAveragePooling2D": ("keepdims", "data_format"),
    "GlobalMaxPooling2D": ("keepdims", "data_format"),
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "Flatten": ("data_format",),
    "Concatenate": ("axis",),
    "InputLayer": (),
    "Add": (),
    "Multiply": (),
    "Identity": (),
    "Dropout": (),
    "Softmax": ("axis",),
}
# They compute what the stock layer computes, but for the moving statistics in training.
_BATCH_NORMS = ("BesselBatchNormalization", "FusedBatchNormalization")


def structure(model: keras.Model) -> dict[str, str]:
    """Describes every layer of a functional model.

    Returns:
        ``{layer name: text}`` in the order of the model, such as ``BatchNormalization(axis=-1, epsilon=0.001,
        center=True, scale=False) <- MobilenetV1__Conv2d_0``.
    """
    # An operation has its name next to its configuration, a layer of a `Sequential` in it.
    layers = {layer.get("name") or layer["config"]["name"]: layer for layer in model.get_config()["layers"]}
    sources = {name: list(sources_of(layer.get("inbound_nodes", ()))) for name, layer in layers.items()}
    casts = _needless_casts(model, layers, sources)
    return {
        name: _described(layer, [casts.get(source, source) for source in sources[name]])
        for name, layer in layers.items()
        if name not in casts
    }


def _needless_casts(model: keras.Model, layers: Mapping[str, dict], sources: Mapping[str, list[str]]) -> dict[str, str]:
    """Returns the casts to the dtype in which all layers that take them compute anyway, with their sources.

    Keras 3.5 adds them to a model of another dtype than float32, under names with a running number.
    """
    casts = [
        name
        for name, layer in layers.items()
        if layer["class_name"] == "Cast" and layer["module"].startswith("keras.src.ops.")
    ]
    if not casts:
        return {}
    dtypes = {operation.name: getattr(operation, "compute_dtype", None) for operation in model.operations}
    takers = {cast: {dtypes[name] for name, names in sources.items() if cast in names} for cast in casts}
    return {cast: sources[cast][0] for cast in casts if takers[cast] == {layers[cast]["config"]["dtype"]}}


def _described(layer: Mapping, sources: Sequence[str]) -> str:
    kind, config = layer["class_name"], layer["config"]
    if kind in _BATCH_NORMS and layer["registered_name"] in (f"mobilenets>{kind}", f"converters>{kind}"):
        kind = "BatchNormalization"
    elif layer["registered_name"] is not None:
        kind = layer["registered_name"]
    # A layer that is not in the table is described by all that it says of itself.
    names = ARGUMENTS.get(kind, tuple(sorted(config.keys() - {"name", "dtype", "trainable"})))
    arguments = ", ".join(f"{name}={_text(config.get(name))}" for name in names)
    return f"{kind}({arguments})" + (f" <- {', '.join(dict.fromkeys(sources))}" if sources else "")


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def structure_differences(found: Mapping[str, str], expected: Mapping[str, str]) -> dict[str, str]:
    """Compares two structures.

    Returns:
        ``{layer name: what differs}``, empty where both are the same.
    """
    texts = {
        "-": "missing layer: {expected}",
        "+": "additional layer: {found}",
        "!": "{found}, expected {expected}",
    }
    return {d.name: texts[d.sign].format(**d._asdict()) for d in differences(expected, found)}


def published_structure(model: keras.Model) -> dict[str, str]:
    """Builds the network whose variables a model has, and describes it.

    Family, multiplier and classes follow from the names and shapes of the weights, head and image size from the
    model's inputs and outputs. Strides do not follow from weights: of those that the options ``output_stride`` and
    ``first_stride`` give, the closest to the model's are taken.

    Raises:
        ConversionError: the model's weights are not those of a network of this project.
    """
    network, arguments = network_arguments(model)
    layers = structure(model)
    names = weights_by_slim_name(model)
    best: dict[str, str] = {}
    for options in stride_choices(network.family):
        with without_random_values():
            complete = mobilenets.CONSTRUCTORS[network.family](**arguments, **options)
        built = cut(complete, network, names)[0]
        expected = structure(mobilenets.fuse(built) if is_folded(names) else built)
        if not best or len(structure_differences(layers, expected)) < len(structure_differences(layers, best)):
            best = expected
        if not _strides_differ(layers, best):
            break
    return best


def network_arguments(model: keras.Model) -> tuple[Network, dict[str, Any]]:
    """What network a model is, and the arguments of its constructor that follow from weights, inputs and outputs.

    Raises:
        ConversionError: the model's weights are not those of a network of this project.
    """
    weights = weights_by_slim_name(model)
    network = recognise({name: tuple(weight.shape) for name, weight in weights.items()}, model.name)
    return network, {
        "depth_multiplier": network.depth_multiplier,
        "input_shape": tuple(model.input_shape[1:]),
        "head": _head(model, network.num_classes),
        "num_classes": network.num_classes or mobilenets.PUBLISHED_CLASSES,
        "rescale_inputs": rescales_inputs(model),
        **({"padding": "explicit"} if _is_padded(model) and FAMILIES[network.family].explicit_padding else {}),
        **network.arguments,
    }


def stride_choices(family: str) -> Iterator[dict[str, int]]:
    """Yields the arguments that change a family's strides, the published network (no arguments) first."""
    output_strides = FAMILIES[family].output_strides
    for first in ({}, {"first_stride": 1}):
        yield first
        yield from (first | {"output_stride": stride} for stride in output_strides)


def _is_padded(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in model.layers)


def _strides_differ(found: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    return any("strides=" in text for text in structure_differences(found, expected).values())


def _head(model: keras.Model, num_classes: int | None) -> str:
    if num_classes:
        return "classification"
    return "feature_map" if len(model.output_shape) == 4 else "feature_vector"
