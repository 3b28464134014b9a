"""The endpoints of a network in a Keras model.

The module cannot be called ``endpoints``: the submodule would hide the function `mobilenets.endpoints`.
"""

import re

import keras
from keras import KerasTensor

from mobilenets.names import SCOPES, layer_name, slim_name

# Layers inside a branch, an activation or a gate.
_INSIDE = re.compile("/(Branch_|hard_swish/|squeeze_excite/)")


def endpoints(model: keras.Model) -> dict[str, KerasTensor]:
    """Returns the endpoints of a network in a functional model, under the names of the hub modules.

    Endpoints are identified by layer names. So they are available in a saved and loaded model too, and in a model that
    was built on the layers of a network. A network that is a single layer of another model is not searched.

    Args:
        model: a model of this package, or one that shares its layers.

    Returns:
        Name -> symbolic tensor in the order of the graph, such as ``MobilenetV2/layer_1``,
        ``MobilenetV2/layer_3/output``, ``MobilenetV2/layer_3`` (the same tensor), ``MobilenetV2/global_pool``
        (batch, 1, 1, channels), ``MobilenetV2/Logits`` (batch, classes) and ``MobilenetV2/Predictions``
        (batch, classes), the softmax of the logits.

    Raises:
        ValueError: if no layer of the model has the name of an endpoint.

    Example:
        >>> model = mobilenets.MobileNetV2(0.35)
        >>> extractor = keras.Model(model.input, mobilenets.endpoints(model)["MobilenetV2/layer_7"])
    """
    tensors: dict[str, KerasTensor] = {}
    for layer in model.layers:
        name = _endpoint_name(layer)
        if name is None:
            continue
        tensors[name] = layer.output
        if re.search(r"/layer_\d+/output$", name):
            tensors[name.removesuffix("/output")] = layer.output
    if not tensors:
        raise ValueError(f"The model {model.name!r} has no endpoints: no layer is named after a slim scope.")
    for scope in SCOPES.values():
        logits, predictions = tensors.get(f"{scope}/Logits"), f"{scope}/Predictions"
        if logits is not None and predictions not in tensors:
            softmax = keras.layers.Softmax(dtype=logits.dtype, name=layer_name(predictions))
            tensors[predictions] = softmax(logits)
    return tensors


def _endpoint_name(layer: keras.Layer) -> str | None:
    """Returns the endpoint that a layer computes: its name, without the operation that slim appends to it."""
    name = slim_name(layer.name)
    if name.split("/")[0] not in SCOPES.values() or _INSIDE.search(name) or layer.weights:
        return None
    return re.sub(r"/Relu6?$", "", name)
