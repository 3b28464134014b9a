"""Batch norms folded into the convolutions before them: the same function in fewer operations."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from mobilenets.random_values import without_random_values

# Type of a convolution -> its weight whose last axes are the output channels.
KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "kernel", "SeparableConv2D": "pointwise_kernel"}

BATCH_NORMS = ("BatchNormalization", "BesselBatchNormalization")

Config = Mapping[str, Any]


def fuse(model: keras.Model) -> keras.Model:
    """Returns a copy of a model, for inference, with batch norms folded into the convolutions before them.

    With ``scale = gamma / sqrt(moving_variance + epsilon)`` a kernel becomes ``kernel * scale`` and a bias
    ``beta + (bias - moving_mean) * scale``, computed in float64 and rounded once to the type of the weights (Jacob et
    al. 2017, arXiv:1712.05877, section 3.2). Everything else is unchanged: inputs, outputs, the names of the remaining
    layers (and so the endpoints), dtype policies, and the rescaling of images. Rescaling cannot be folded into the next
    convolution: that convolution pads with zeros, so the border would change.

    A batch norm is folded if it is the only reader of a convolution without activation. This is true for every batch
    norm of this package's networks, also if a network is a layer of another model. Other batch norms are kept, and a
    model without any is copied.

    Args:
        model: a functional or sequential model; it is not changed.

    Returns:
        A new functional model, not compiled. Do not train it: it has no moving statistics to update, and weight decay
        would apply to folded kernels.

    Raises:
        ValueError: if the model is neither functional nor sequential.

    Example:
        >>> model = mobilenets.MobileNetV2(0.35)
        >>> fused = mobilenets.fuse(model)
    """
    if not _is_graph(model):
        raise ValueError(f"Only a functional or sequential model can be fused, not {model!r}.")
    # The same layers in a model that is functional and not compiled: a clone would be compiled too.
    ends = (model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else (model.input, model.output)
    graph = keras.Model(*ends, name=model.name)
    convolutions = fusable(graph.get_config())
    batch_norms = {convolution: graph.get_layer(name) for name, convolution in convolutions.items()}

    def clone(layer: keras.Layer) -> keras.Layer:
        if _is_graph(layer):
            return fuse(layer)
        config = layer.get_config()
        return type(layer).from_config(config | {"use_bias": True} if layer.name in batch_norms else config)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        # A folded batch norm passes its input on.
        return keras.tree.flatten([args, kwargs])[0] if layer.name in convolutions else layer(*args, **kwargs)

    with without_random_values():
        fused = keras.models.clone_model(graph, clone_function=clone, call_function=call)
    for layer in fused.layers:
        if layer.name in batch_norms:
            values = fold(graph.get_layer(layer.name), batch_norms[layer.name])
            for weight in layer.weights:
                weight.assign(values[weight.name])
        elif layer.weights and not _is_graph(layer):
            layer.set_weights(graph.get_layer(layer.name).get_weights())
    return fused


def _is_graph(layer: object) -> bool:
    """Returns whether `layer` is a functional or sequential model."""
    return isinstance(layer, keras.Model) and hasattr(type(layer), "inputs")


def fusable(config: Config) -> dict[str, str]:
    """Returns batch norm -> convolution to fold it into, by name, for a functional model's own layers."""
    layers = {layer["name"]: layer for layer in config["layers"]}
    sources = {name: list(sources_of(layer["inbound_nodes"])) for name, layer in layers.items()}
    readers = Counter([*sources_of(config["output_layers"]), *(name for names in sources.values() for name in names)])
    return {
        name: sources[name][0]
        for name, layer in layers.items()
        if layer["class_name"] in BATCH_NORMS
        and len(sources[name]) == 1
        and readers[sources[name][0]] == 1
        and _takes(layers[sources[name][0]], layer["config"])
    }


def _takes(source: Config, batch_norm: Config) -> bool:
    """Returns whether `source` is a convolution, called once, without activation, that has the batch norm's axis."""
    config = source["config"]
    if source["class_name"] not in KERNELS or len(source["inbound_nodes"]) != 1:
        return False
    channels = (-1, 3) if config["data_format"] == "channels_last" else (-3, 1)
    return config["activation"] == "linear" and batch_norm["axis"] in channels


def sources_of(value: object) -> Iterator[str]:
    """Yields the names of the layers whose outputs occur in a layer's calls or among a model's outputs."""
    # A tensor is written as [name of the layer, index of its call, index of its output].
    if isinstance(value, list | tuple) and [type(part) for part in value] == [str, int, int]:
        yield value[0]
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from sources_of(part)


def fold(convolution: keras.Layer, batch_norm: keras.layers.BatchNormalization) -> dict[str, np.ndarray]:
    """Returns the weights, by name, of one convolution equal to this one followed by the batch norm, in inference."""
    values, norm = _arrays(convolution), {name: array.astype(np.float64) for name, array in _arrays(batch_norm).items()}
    name = KERNELS[type(convolution).__name__]
    kernel = values[name]
    scale = norm.get("gamma", 1.0) / np.sqrt(norm["moving_variance"] + batch_norm.epsilon)
    bias = norm.get("beta", 0.0) + (values.get("bias", 0.0) - norm["moving_mean"]) * scale
    # A depthwise kernel ends in (channels, multiplier), in the order of its output channels.
    axes = 2 if isinstance(convolution, keras.layers.DepthwiseConv2D) else 1
    scaled = kernel.astype(np.float64) * scale.reshape(kernel.shape[-axes:])
    return values | {name: scaled.astype(kernel.dtype), "bias": bias.astype(kernel.dtype)}


def _arrays(layer: keras.Layer) -> dict[str, np.ndarray]:
    return {weight.name: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
