"""Batch norms folded into the convolutions before them: the same function in fewer operations."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

# Type of a convolution -> its weight whose last axes are the output channels.
KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "kernel", "SeparableConv2D": "pointwise_kernel"}

BATCH_NORMS = ("BatchNormalization", "BesselBatchNormalization")

Config = Mapping[str, Any]


def fuse(model: keras.Model) -> keras.Model:
    """A copy of a model, for inference, whose batch norms are part of the convolutions before them.

    With ``scale = gamma / sqrt(moving_variance + epsilon)`` a kernel becomes ``kernel * scale`` and a bias
    ``beta + (bias - moving_mean) * scale``, computed in float64 and rounded once to the type of the weights (Jacob et
    al. 2017, arXiv:1712.05877, section 3.2). All else stays: inputs, outputs, the names of the remaining layers and so
    the endpoints, dtype policies, and the rescaling of images, which cannot join the convolution after it: that pads
    with zeros, and the border would change.

    A batch norm is folded where it alone reads a convolution that has no activation. This holds for every one of this
    package's networks, also where a network is a layer of another model. Any other batch norm stays as it is, and a
    model without one is copied.

    Args:
        model: a functional or sequential model; it is not changed.

    Returns:
        A new model, not compiled. It is not for training: there are no moving statistics left to update, and any
        weight decay would act on folded kernels.

    Raises:
        ValueError: if the model is neither functional nor sequential.
    """
    if not _is_graph(model):
        raise ValueError(f"Only a functional or sequential model can be fused, not {model!r}.")
    fused = type(model).from_config(_folded(model.get_config()))
    _set_weights(fused, model)
    return fused


def _is_graph(layer: object) -> bool:
    """Whether it is a model whose configuration holds its layers; a subclassed model may not even have one."""
    return isinstance(layer, keras.Model) and hasattr(type(layer), "inputs") and "layers" in layer.get_config()


def fusable(config: Config) -> dict[str, str]:
    """Batch norm -> convolution to fold it into, by name, for a model's own layers (not those of models in it)."""
    # The layers of a sequential model have no nodes: there, what is folded is in the models that it consists of.
    layers = {layer["name"]: layer for layer in config["layers"] if "inbound_nodes" in layer}
    sources = {name: list(_sources(layer["inbound_nodes"])) for name, layer in layers.items()}
    readers = Counter([*_sources(config.get("output_layers")), *(name for names in sources.values() for name in names)])
    return {
        name: sources[name][0]
        for name, layer in layers.items()
        if layer["class_name"] in BATCH_NORMS
        and len(sources[name]) == 1
        and readers[sources[name][0]] == 1
        and _takes(layers[sources[name][0]], layer["config"])
    }


def _takes(source: Config, batch_norm: Config) -> bool:
    """Whether a layer is a convolution called once, without activation, whose channels are the batch norm's."""
    config = source["config"]
    if source["class_name"] not in KERNELS or len(source["inbound_nodes"]) != 1:
        return False
    channels = (-1, 3) if config["data_format"] == "channels_last" else (-3, 1)
    return config["activation"] == "linear" and batch_norm["axis"] in channels


def _is_history(value: object) -> bool:
    """Whether it is where a tensor comes from: [name of the layer, index of its call, index of its output]."""
    return isinstance(value, list | tuple) and [type(part) for part in value] == [str, int, int]


def _sources(value: object) -> Iterator[str]:
    """Names of the layers whose outputs occur in a layer's calls or among a model's outputs."""
    if _is_history(value):
        yield value[0]
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _sources(part)


def _rewired(value: Any, replaced: Mapping[str, str]) -> Any:
    """The same calls or outputs, with other layers in the place of those that were replaced."""
    if _is_history(value):
        return [replaced.get(value[0], value[0]), *value[1:]]
    if isinstance(value, Mapping):
        return {key: _rewired(part, replaced) for key, part in value.items()}
    return [_rewired(part, replaced) for part in value] if isinstance(value, list | tuple) else value


def _folded(config: Config) -> dict[str, Any]:
    """A model's configuration without the batch norms that can be folded, with a bias where each was."""
    replaced = fusable(config)
    biased = set(replaced.values())
    layers = []
    for layer in config["layers"]:
        name, inner = layer.get("name"), layer["config"]
        if name in replaced:
            continue
        if "layers" in inner:
            inner = _folded(inner)
        elif name in biased:
            inner = {**inner, "use_bias": True}
        layers.append(_with_rewired({**layer, "config": inner}, "inbound_nodes", replaced))
    return _with_rewired({**config, "layers": layers}, "output_layers", replaced)


def _with_rewired(config: Config, key: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with `key` rewired, where it has that key (nothing in a sequential model has)."""
    return {**config, key: _rewired(config[key], replaced)} if key in config else dict(config)


def _set_weights(fused: keras.Model, model: keras.Model) -> None:
    """Gives every layer of the fused model the weights of its original, folded where a batch norm followed it."""
    originals = {layer.name: layer for layer in model.layers}
    batch_norms = {source: originals[name] for name, source in fusable(model.get_config()).items()}
    for layer in fused.layers:
        original = originals[layer.name]
        if _is_graph(layer):
            _set_weights(layer, original)
        elif layer.name in batch_norms:
            values = fold(original, batch_norms[layer.name])
            for weight in layer.weights:
                weight.assign(values[weight.name])
        else:
            layer.set_weights(original.get_weights())


def fold(convolution: keras.Layer, batch_norm: keras.layers.BatchNormalization) -> dict[str, np.ndarray]:
    """The weights that make of a convolution what it and the batch norm after it are in inference, by their names."""
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
