"""Multiply-adds, memory and receptive field of a model, computed from its layers."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
from keras import layers

from converters.inspection.graph import Step, as_functional, steps_of

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
WHOLE = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten)
"""Layers that reduce a map to one vector."""

ONE_BY_ONE = (
    layers.Rescaling,
    layers.BatchNormalization,
    layers.ReLU,
    layers.Activation,
    layers.Softmax,
    layers.Dropout,
    layers.Identity,
    layers.Add,
    layers.Multiply,
)
"""Layers that compute each value from the values at the same position, or from those of a gate."""

KNOWN = (*CONVOLUTIONS, *POOLS, *WHOLE, *ONE_BY_ONE, layers.InputLayer, layers.Concatenate, layers.Dense)


def model_facts(model: keras.Model, image_size: int | tuple[int, int] | None = None) -> dict[str, object]:
    """Returns the cost of a model for one image, as JSON values.

    Args:
        model: a network of `mobilenets`, or a model built on its layers; fused or not.
        image_size: height and width in pixels (or one number for both), for a model with an open input size.

    Returns:
        name: name of the model.
        input, feature_map: shapes of the image and of the last map before pooling.
        layers: number of layers, including the input.
        parameters, trainable_parameters: number of parameters.
        macs: see `multiply_adds`.
        receptive_field, stride: pixels of the feature map in height and width; see `receptive_fields`.
        weights_bytes: size of all weights in memory.
        peak_activation_bytes: see `peak_activation_bytes`.

    Raises:
        ValueError: as for `steps_of`, or if a layer has an unsupported type.
    """
    model = as_functional(model)
    steps = _measurable(model, image_size)
    last = _last_map(steps)
    field = receptive_fields(steps)[last.name]
    return {
        "name": model.name,
        "input": list(steps[0].output),
        "feature_map": list(last.output),
        "layers": len(steps),
        "parameters": _count(model.weights),
        "trainable_parameters": _count(model.trainable_weights),
        "macs": multiply_adds(steps),
        "receptive_field": [axis.size for axis in field],
        "stride": [axis.stride for axis in field],
        "weights_bytes": sum(math.prod(weight.shape) * _bytes_of(weight.dtype) for weight in model.weights),
        "peak_activation_bytes": peak_activation_bytes(steps, kept=_makers(model)),
    }


def multiply_adds(steps: Iterable[Step]) -> int:
    """Returns the multiply-adds of all kernels for one image: each kernel value is used once per output position.

    Padding counts; biases, batch norms, activations and pools do not. Google's tables count in the same way.
    """
    kernels = (*CONVOLUTIONS, layers.Dense)
    return sum(
        step.positions * _count(weight for weight in step.operation.weights if len(weight.shape) > 1)
        for step in steps
        if isinstance(step.operation, kernels)
    )


class Axis(NamedTuple):
    """The receptive field of a map along the height or the width.

    Position ``i`` depends on the pixels from ``first + i * stride`` to ``last + i * stride``. Pixels beyond the border
    of the image are padding.
    """

    first: int
    last: int
    stride: int

    @property
    def size(self) -> int:
        """Number of pixels in the receptive field."""
        return self.last - self.first + 1


Field = tuple[Axis, Axis]


def receptive_fields(steps: Iterable[Step]) -> dict[str, Field]:
    """Returns name -> receptive field, in height and width, of each layer's output.

    The rule is that of Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks". A
    kernel of size ``k`` and dilation ``d``, on a map with the stride ``stride``, adds ``(k - 1) * d * stride`` pixels;
    SAME padding shifts a part of them before the first pixel. The kernel's own stride multiplies ``stride``. The field
    of joined branches is the union of their fields. A gate, which is one value per channel that multiplies a whole map,
    depends on all pixels and is left out: the field is that of the map.
    """
    fields: dict[str, Field] = {}
    for step in steps:
        if not step.sources:
            fields[step.name] = (Axis(0, 0, 1), Axis(0, 0, 1))
            continue
        seen = _union([fields[source] for source in _without_gates(step)], step.name)
        height, width = (_through(step, index, axis) for index, axis in enumerate(seen))
        fields[step.name] = (height, width)
    return fields


def _without_gates(step: Step) -> list[str]:
    """Returns the sources of a step, without maps of 1x1 that multiply larger ones."""
    if not isinstance(step.operation, layers.Multiply):
        return list(step.sources)
    positions = [math.prod(shape[:-1]) for shape in step.inputs]
    return [source for source, count in zip(step.sources, positions, strict=True) if count == max(positions)]


def _union(fields: Sequence[Field], name: str) -> Field:
    """Returns the union of the fields of several branches, which must have the same stride."""
    axes = []
    for branches in zip(*fields, strict=True):
        strides = {axis.stride for axis in branches}
        if len(strides) > 1:
            raise ValueError(f"The layer {name!r} joins maps of different strides, {sorted(strides)}.")
        axes.append(Axis(min(a.first for a in branches), max(a.last for a in branches), strides.pop()))
    return axes[0], axes[1]


def _through(step: Step, index: int, axis: Axis) -> Axis:
    """Returns the receptive field after a step, along axis `index` of the image."""
    size, stride, before = _window(step, index)
    return Axis(axis.first - before * axis.stride, axis.last + (size - 1 - before) * axis.stride, axis.stride * stride)


def _window(step: Step, index: int) -> tuple[int, int, int]:
    """Returns size and stride of a step's window on its input, and the padding before the first value."""
    layer, shape = step.operation, step.inputs[0]
    if isinstance(layer, WHOLE) and len(shape) == 3:
        return shape[index], 1, 0
    if isinstance(layer, CONVOLUTIONS):
        size, stride = (layer.kernel_size[index] - 1) * layer.dilation_rate[index] + 1, layer.strides[index]
    elif isinstance(layer, POOLS):
        size, stride = layer.pool_size[index], layer.strides[index]
    else:
        return 1, 1, 0
    if layer.padding == "valid":
        return size, stride, 0
    # TensorFlow's SAME padding depends on the length; if it is odd, the end has one more.
    length = shape[index]
    padding = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return size, stride, padding // 2


def peak_activation_bytes(steps: Sequence[Step], kept: Iterable[str] = ()) -> int:
    """Returns the peak memory of all activations for one image.

    Layers run one at a time in the order of the steps. An output is kept until its last reader has run. Elementwise
    layers (batch norm, ReLU, addition) and reshaping layers overwrite their input if nothing else reads it, as in
    every runtime.

    Args:
        steps: all steps of a model.
        kept: names of the steps with the model's outputs, which are kept to the end.
    """
    last_reader = {source: index for index, step in enumerate(steps) for source in step.sources}
    kept = set(kept)
    sizes: dict[str, int] = {}
    peak = 0
    for index, step in enumerate(steps):
        size = math.prod(step.output) * _bytes_of(step.operation.output.dtype)
        done = [source for source in dict.fromkeys(step.sources) if last_reader[source] == index and source not in kept]
        if isinstance(step.operation, (*ONE_BY_ONE, layers.Flatten)) and done and sizes[done[0]] == size:
            del sizes[done.pop(0)]
        sizes[step.name] = size
        peak = max(peak, sum(sizes.values()))
        for source in done:
            del sizes[source]
    return peak


def _measurable(model: keras.Model, image_size: int | tuple[int, int] | None) -> list[Step]:
    steps = steps_of(model, image_size)
    for step in steps:
        # An unsupported layer is an error: an estimate would be a wrong number that looks right.
        if not isinstance(step.operation, KNOWN):
            raise ValueError(f"The layer {step.name!r} is a {type(step.operation).__name__}, which cannot be measured.")
    return steps


def _last_map(steps: Sequence[Step]) -> Step:
    """Returns the first map that is pooled or flattened, other than for its own gate, or else the last output."""
    by_name = {step.name: step for step in steps}
    gated = {source for step in steps if isinstance(step.operation, layers.Multiply) for source in step.sources}
    pooled = (step.sources[0] for step in steps if _reduces(step.operation))
    return next((by_name[source] for source in pooled if source not in gated), steps[-1])


def _reduces(operation: keras.Operation) -> bool:
    """Returns whether a layer pools a map before the head: as a whole, or by a window without padding."""
    is_window = isinstance(operation, layers.AveragePooling2D) and operation.padding == "valid"
    return is_window or isinstance(operation, WHOLE)


def _makers(model: keras.Model) -> list[str]:
    """Returns the names of the steps with the model's outputs."""
    outputs = {id(tensor) for tensor in model.outputs}
    return [operation.name for operation in model.operations if id(operation.output) in outputs]


def _count(weights: Iterable[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _bytes_of(dtype: str) -> int:
    """Returns the bytes of one value of a type such as "float32" or "bfloat16"."""
    bits = re.search(r"\d+", keras.backend.standardize_dtype(dtype))
    return int(bits[0]) // 8 if bits else 1
