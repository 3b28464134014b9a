"""Weights for MobileNet V1, V2 and V3 of ``keras.applications``: the ``.h5`` that their argument `weights` takes.

Their networks are those of slim, with other names of the layers, images in [-1, 1], and three differences: MobileNet
pads at the lower right alone (equal to SAME padding if height and width are multiples of 32), widths are truncated
before they become multiples of 8, and the gates of MobileNet V3 have another constant; minimalistic ones have no gates.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from converters.errors import ConversionError
from converters.exporting.networks import network_for
from converters.image_sizes import DEFAULT_IMAGE_SIZE
from converters.weights import slim_variables
from mobilenets import SCOPES

LIBRARY = "keras.applications"
CONSTRUCTORS = {"mobilenet_v1": "MobileNet", "mobilenet_v2": "MobileNetV2", "mobilenet_v3": "MobileNetV3{}"}
# Attribute of the file: how to load it. Keras ignores it.
CALL = "keras_applications"
# Names of weights in Keras's older HDF5 format, which Keras 2 and Keras 3 read, where they differ from Keras 3's.
STORED_NAMES = {("DepthwiseConv2D", "kernel"): "depthwise_kernel"}
LEAVES = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}


def check(model: keras.Model) -> None:
    """Refuses a model that keras.applications cannot build.

    Raises:
        ConversionError: it is of another family, has other options or widths, or takes images of another size.
    """
    _arranged(model)


def write_weights(model: keras.Model, path: Path, _images: np.ndarray | None = None) -> None:
    """Writes the weights in Keras's older HDF5 format, layer by layer in the order of the other network."""
    if path.name.endswith(".weights.h5"):
        raise ConversionError(f"Keras reads files named *.weights.h5 in another format; rename {path.name}")
    call, layers = _arranged(model)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = keras.__version__.encode()
        file.attrs[CALL] = json.dumps(call)
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{leaf}:0".encode() for leaf in weights])
            for leaf, array in weights.items():
                group.create_dataset(f"{layer}/{leaf}:0", data=array)


def load_weights(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Builds the network of keras.applications with ``weights=path``, as a user of the file does."""
    with h5py.File(path) as file:
        call = json.loads(file.attrs[CALL])
    model = _built(call, weights=str(path))
    return lambda images: keras.ops.convert_to_numpy(model(images, training=False))


def slim_scope(layer: str, scope: str = "MobilenetV2") -> str:
    """Returns the slim scope of a layer of keras.applications.

    Args:
        layer: its name.
        scope: of the network, for names that MobileNet V2 and V3 share: ``expanded_conv_project``.

    Example:
        >>> slim_scope("block_3_expand_BN")
        'MobilenetV2/expanded_conv_3/expand/BatchNorm'
    """
    special = {
        "conv1": "MobilenetV1/Conv2d_0",
        "conv_preds": "MobilenetV1/Logits/Conv2d_1c_1x1",
        "Conv1": "MobilenetV2/Conv",
        "bn_Conv1": "MobilenetV2/Conv/BatchNorm",
        "Conv_1": "MobilenetV2/Conv_1",
        "predictions": "MobilenetV2/Logits/Conv2d_1c_1x1",
        "conv": "MobilenetV3/Conv",
        "conv_1": "MobilenetV3/Conv_1",
        "conv_2": "MobilenetV3/Conv_2",
        "logits": "MobilenetV3/Logits/Conv2d_1c_1x1",
    }
    if layer in special:
        return special[layer]
    for ending in ("_bn", "_BN"):
        if layer.endswith(ending):
            return f"{slim_scope(layer.removesuffix(ending), scope)}/BatchNorm"
    block, _, part = layer.rpartition("_")
    if block in ("conv_dw", "conv_pw"):
        return f"MobilenetV1/Conv2d_{part}_{'depthwise' if block == 'conv_dw' else 'pointwise'}"
    if block.startswith("block_"):
        return f"MobilenetV2/{block.replace('block_', 'expanded_conv_')}/{part}"
    # The first block of V2, and every block of V3.
    return f"{scope}/{block}/{part}"


def _arranged(model: keras.Model) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Returns the call that builds the other network, and ``{its layer: {stored name: array}}`` in its order."""
    family, network = network_for(model, LIBRARY, families=tuple(CONSTRUCTORS))
    _check_v3(model, network)
    height, width, _ = network["input_shape"]
    if family == "mobilenet_v1" and any(size is not None and size % 32 for size in (height, width)):
        raise ConversionError(
            f"{model.name} takes images of {height}x{width} pixels, and {LIBRARY}.MobileNet computes the same only "
            "where height and width are multiples of 32, because of its padding."
        )
    is_classifier = network["head"] == "classification"
    call = {
        "constructor": CONSTRUCTORS[family].format(network.get("variant", "").capitalize()),
        "alpha": network["depth_multiplier"],
        "input_shape": [height or DEFAULT_IMAGE_SIZE, width or DEFAULT_IMAGE_SIZE, 3],
        "include_top": is_classifier,
        "pooling": "avg" if network["head"] == "feature_vector" else None,
        "classes": network["num_classes"] if is_classifier else 1000,
        "classifier_activation": None,
        **({"minimalistic": True, "include_preprocessing": False} if family == "mobilenet_v3" else {}),
    }
    variables = slim_variables(model)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for layer in _built(call, weights=None).layers:
        # A dropout's seed is state, and on some backends counted as a weight.
        for weight in () if isinstance(layer, keras.layers.Dropout) else layer.weights:
            leaf = STORED_NAMES.get((type(layer).__name__, weight.name), weight.name)
            name = f"{slim_scope(layer.name, SCOPES[family])}/{LEAVES.get(leaf, leaf)}"
            array = variables[name]
            if type(layer).__name__ == "Dense" and array.ndim == 4:
                array = array[0, 0]
            if array.shape != tuple(weight.shape):
                raise ConversionError(
                    f"{LIBRARY}.{call['constructor']} has other widths with alpha={call['alpha']:g}: its layer "
                    f"{layer.name} has a {leaf} of shape {tuple(weight.shape)}, and {name} has {array.shape}."
                )
            layers.setdefault(layer.name, {})[leaf] = array
    return call, layers


def _check_v3(model: keras.Model, network: dict[str, Any]) -> None:
    """Refuses what keras.applications computes otherwise in MobileNet V3."""
    if not network.get("minimalistic", True):
        raise ConversionError(
            f"{LIBRARY} multiplies the gates of MobileNet V3 by 1/6, slim and {model.name} by 0.16667: each gate would "
            "be 2.0e-5 of its value too small, and the logits 5e-6 of the largest (measured on made-up weights). Only "
            "minimalistic networks, which have no gates, are exported; for others use another format."
        )
    if "minimalistic" in network and network["head"] == "feature_vector":
        raise ConversionError(
            f"{LIBRARY} has no MobileNet V3 with the head 'feature_vector': without logits it has no Conv_2 either. "
            "Export a classifier, or a model with the head 'feature_map'."
        )


def _built(call: dict[str, Any], weights: str | None) -> keras.Model:
    arguments = {name: value for name, value in call.items() if name != "constructor"}
    constructor = getattr(keras.applications, call["constructor"])
    return constructor(weights=weights, **arguments | {"input_shape": tuple(call["input_shape"])})
