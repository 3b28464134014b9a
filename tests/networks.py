"""What the tests of the networks share: weights by their slim names, and dtype policies."""

import contextlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

import mobilenets
from tests import golden

CONSTRUCTORS = {
    "mobilenet_v1": mobilenets.MobileNetV1,
    "mobilenet_v2": mobilenets.MobileNetV2,
    "mobilenet_v3": mobilenets.MobileNetV3,
    "inception_v2": mobilenets.InceptionV2,
}
SCOPES = {
    "mobilenet_v1": "MobilenetV1",
    "mobilenet_v2": "MobilenetV2",
    "mobilenet_v3": "MobilenetV3",
    "inception_v2": "InceptionV2",
}

# Families whose heads take maps of any size; MobileNet V3 needs at least 7x7, or square ones of known size.
ANY_SIZE = [family for family in CONSTRUCTORS if family != "mobilenet_v3"]

LEAVES = {
    ("Conv2D", "kernel"): "weights",
    ("Conv2D", "bias"): "biases",
    ("DepthwiseConv2D", "kernel"): "depthwise_weights",
    ("SeparableConv2D", "depthwise_kernel"): "depthwise_weights",
    ("SeparableConv2D", "pointwise_kernel"): "pointwise_weights",
    ("SeparableConv2D", "bias"): "biases",
    **{
        (batch_norm, leaf): leaf
        for batch_norm in ("BatchNormalization", "BesselBatchNormalization")
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    },
}


def slim_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Slim variable name -> the model's weight, in the model's order."""
    return {
        f"{layer.name.replace('__', '/')}/{LEAVES[type(layer).__name__, weight.name]}": weight
        for layer in model.layers
        for weight in layer.weights
        if not isinstance(layer, keras.layers.Dropout)  # its seed is a weight on some backends
    }


def set_weights(model: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Assigns every weight by its slim name; nothing may be missing or left over."""
    weights = slim_weights(model)
    assert set(weights) == set(values)
    for name, weight in weights.items():
        weight.assign(values[name])


def golden_network(meta: Mapping, **options) -> keras.Model:
    """Returns the network of a golden case with the case's weights; `options` are further arguments."""
    kwargs = meta["kwargs"]
    if "output_stride" in kwargs:
        options |= {"output_stride": kwargs["output_stride"], "head": "feature_map"}
    if "finegrain" in kwargs:
        options["scale_last_layer"] = not kwargs["finegrain"]
    if "variant" in kwargs:
        variant, _, minimalistic = kwargs["variant"].partition("_")
        options |= {"variant": variant, "minimalistic": bool(minimalistic)}
    shape = (meta["height"], meta["width"], 3)
    model = CONSTRUCTORS[meta["family"]](meta["depth_multiplier"], shape, dropout_rate=0.0, **options)
    set_weights(model, golden.variables(meta))
    return model


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Makes layers under another global dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def variant_of(info):
    """The variant of a MobileNet V3 as the oracle has it; other families ignore it."""
    return info.options.get("variant", "large") + "_minimalistic" * info.options.get("minimalistic", False)


# The published sizes of a network differ in the shape of the images alone; this is each at its smallest.
ONE_SIZE_OF_EACH = list(
    {
        (info.family, info.depth_multiplier, variant_of(info)): info.name
        for info in sorted(map(mobilenets.get_model_info, mobilenets.list_models()), key=lambda info: -info.image_size)
    }.values()
)
