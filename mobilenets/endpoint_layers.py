"""Where the endpoints of a network are in a model."""

import re

import keras
from keras import KerasTensor

from mobilenets.names import SCOPES, layer_name, slim_name


def endpoints(model: keras.Model) -> dict[str, KerasTensor]:
    """The endpoints of a network in a functional model, under the names that hub modules give them.

    They are found by the names of the layers, so also in a model that was saved and loaded, and in one that was built
    on top of a network's layers. The layers must be the model's own: a network that is a single layer of another model
    is not looked into.

    Args:
        model: a model of this package, or one that shares its layers.

    Returns:
        Name -> symbolic tensor in the order of the graph, such as ``MobilenetV2/layer_1``,
        ``MobilenetV2/layer_3/output``, ``MobilenetV2/layer_3`` (the same tensor), ``MobilenetV2/global_pool``
        (batch, 1, 1, channels), ``MobilenetV2/Logits`` (batch, classes) and ``MobilenetV2/Predictions``
        (batch, classes), their softmax. Use them as ``keras.Model(model.input, tensor_or_dict_of_them)``.

    Raises:
        ValueError: if the model has no layer with such a name.
    """
    found: dict[str, KerasTensor] = {}
    for layer in model.layers:
        name = _endpoint_name(layer)
        if name is None:
            continue
        found[name] = layer.output
        if re.search(r"/layer_\d+/output$", name):
            found[name.removesuffix("/output")] = layer.output
    if not found:
        raise ValueError(f"The model {model.name!r} has no endpoints: none of its layers is named by a slim scope.")
    for scope in SCOPES.values():
        logits, predictions = found.get(f"{scope}/Logits"), f"{scope}/Predictions"
        if logits is not None and predictions not in found:
            softmax = keras.layers.Softmax(dtype=logits.dtype, name=layer_name(predictions))
            found[predictions] = softmax(logits)
    return found


def _endpoint_name(layer: keras.Layer) -> str | None:
    """The endpoint that a layer makes: layers without weights are named after it, or after slim's op that makes it."""
    name = slim_name(layer.name)
    if name.split("/")[0] not in SCOPES.values() or "/Branch_" in name or layer.weights:
        return None
    return re.sub(r"/Relu6?$", "", name)
