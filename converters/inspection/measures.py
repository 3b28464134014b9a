"""What a model costs and what it sees, told from its layers: multiply-adds, memory, receptive field."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
from keras import layers

from converters.inspection.graph import Step, steps

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
WHOLE = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten)
"""Layers that make one vector of a whole map."""

ONE_BY_ONE = (
    layers.Rescaling,
    layers.BatchNormalization,
    layers.ReLU,
    layers.Activation,
    layers.Softmax,
    layers.Dropout,
    layers.Identity,
    layers.Add,
)
"""Layers that make each value of the values at the same place."""

KNOWN = (*CONVOLUTIONS, *POOLS, *WHOLE, *ONE_BY_ONE, layers.InputLayer, layers.Concatenate, layers.Dense)


def model_facts(model: keras.Model, image_size: int | tuple[int, int] | None = None) -> dict[str, object]:
    """The cost of a model for one image, in numbers that JSON takes.

    Args:
        model: a network of this package, or a model that was built on one layer by layer; fused or not.
        image_size: height and width in pixels (or one number for both) where the model takes images of any size.

    Returns:
        name: of the model.
        input, feature_map: shapes of the image and of the last map before pooling.
        layers: how many, the input included.
        parameters, trainable_parameters: counts of numbers.
        macs: see `multiply_adds`.
        receptive_field, stride: of the feature map, pixels in height and width; see `receptive_fields`.
        weights_bytes: of all weights in memory.
        peak_activation_bytes: see `peak_activation_bytes`.

    Raises:
        ValueError: as `converters.inspection.graph.steps` does, or if a layer is of a type that is not known here.
    """
    found = _measurable(model, image_size)
    last = _last_map(found)
    field = receptive_fields(found)[last.name]
    return {
        "name": model.name,
        "input": list(found[0].output),
        "feature_map": list(last.output),
        "layers": len(found),
        "parameters": _count(model.weights),
        "trainable_parameters": _count(model.trainable_weights),
        "macs": multiply_adds(found),
        "receptive_field": [axis.size for axis in field],
        "stride": [axis.stride for axis in field],
        "weights_bytes": sum(math.prod(weight.shape) * _bytes_of(weight.dtype) for weight in model.weights),
        "peak_activation_bytes": peak_activation_bytes(found, kept=_makers(model)),
    }


def multiply_adds(found: Iterable[Step]) -> int:
    """Multiply-adds of all kernels for one image: every number of a kernel is used once per position of the result.

    Padding counts; biases, batch norms, activations and pools do not. This is how Google counted for its tables.
    """
    kernels = (*CONVOLUTIONS, layers.Dense)
    return sum(
        step.positions * _count(weight for weight in step.operation.weights if len(weight.shape) > 1)
        for step in found
        if isinstance(step.operation, kernels)
    )


class Axis(NamedTuple):
    """Which pixels one position sees, along the height or the width: for position ``i``, those from
    ``first + i * stride`` to ``last + i * stride``. Pixels beyond the border of the image are padding."""

    first: int
    last: int
    stride: int

    @property
    def size(self) -> int:
        """How many pixels it sees."""
        return self.last - self.first + 1


Field = tuple[Axis, Axis]


def receptive_fields(found: Iterable[Step]) -> dict[str, Field]:
    """The pixels that each layer's result depends on, in height and width.

    The rule (Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks"): a window of
    ``k`` values, ``d`` apart, on a map whose neighbours lie ``stride`` pixels apart, adds ``(k - 1) * d * stride``
    pixels, of which SAME padding moves a part before the first; a stride multiplies ``stride``. Where branches meet,
    the result sees what any of them sees.
    """
    fields: dict[str, Field] = {}
    for step in found:
        if not step.sources:
            fields[step.name] = (Axis(0, 0, 1), Axis(0, 0, 1))
            continue
        seen = _union([fields[source] for source in step.sources], step.name)
        height, width = (_through(step, index, axis) for index, axis in enumerate(seen))
        fields[step.name] = (height, width)
    return fields


def _union(fields: Sequence[Field], name: str) -> Field:
    """What any of several branches sees; all of them have to have the same stride."""
    axes = []
    for branches in zip(*fields, strict=True):
        strides = {axis.stride for axis in branches}
        if len(strides) > 1:
            raise ValueError(f"The layer {name!r} joins maps of different strides, {sorted(strides)}.")
        axes.append(Axis(min(a.first for a in branches), max(a.last for a in branches), strides.pop()))
    return axes[0], axes[1]


def _through(step: Step, index: int, axis: Axis) -> Axis:
    """What a position sees after a step, along axis `index` of the image."""
    size, stride, before = _window(step, index)
    return Axis(axis.first - before * axis.stride, axis.last + (size - 1 - before) * axis.stride, axis.stride * stride)


def _window(step: Step, index: int) -> tuple[int, int, int]:
    """Size and stride of a step's window on what it reads, and how many of its values lie before the first."""
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
    # TensorFlow's SAME padding depends on the length: an odd one out goes to the end.
    length = shape[index]
    padding = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return size, stride, padding // 2


def peak_activation_bytes(found: Sequence[Step], kept: Iterable[str] = ()) -> int:
    """The most memory that maps and vectors take at once, for one image.

    Layers run one after another in the order of the steps. A result stays until its last reader is done; layers that
    work value by value (batch norm, ReLU, addition) and those that only reshape write over what they read where
    nothing else reads it, as every runtime does it.

    Args:
        found: all steps of a model.
        kept: names of the steps whose results are the model's outputs, which stay to the end.
    """
    last_reader = {source: index for index, step in enumerate(found) for source in step.sources}
    kept = set(kept)
    held: dict[str, int] = {}
    peak = 0
    for index, step in enumerate(found):
        size = math.prod(step.output) * _bytes_of(step.operation.output.dtype)
        done = [source for source in dict.fromkeys(step.sources) if last_reader[source] == index and source not in kept]
        if isinstance(step.operation, (*ONE_BY_ONE, layers.Flatten)) and done and held[done[0]] == size:
            del held[done.pop(0)]
        held[step.name] = size
        peak = max(peak, sum(held.values()))
        for source in done:
            del held[source]
    return peak


def _measurable(model: keras.Model, image_size: int | tuple[int, int] | None) -> list[Step]:
    found = steps(model, image_size)
    for step in found:
        # What is not known is an error: a guess would be a wrong number that looks right.
        if not isinstance(step.operation, KNOWN):
            raise ValueError(
                f"The layer {step.name!r} is a {type(step.operation).__name__}, of which the measures are not known."
            )
    return found


def _last_map(found: Sequence[Step]) -> Step:
    """The map that is pooled or flattened first, or else the last result."""
    by_name = {step.name: step for step in found}
    return next((by_name[step.sources[0]] for step in found if isinstance(step.operation, WHOLE)), found[-1])


def _makers(model: keras.Model) -> list[str]:
    """Names of the steps whose results are the model's outputs."""
    outputs = {id(tensor) for tensor in model.outputs}
    return [operation.name for operation in model.operations if id(operation.output) in outputs]


def _count(weights: Iterable[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _bytes_of(dtype: str) -> int:
    """Bytes of one value of a type such as "float32" or "bfloat16"."""
    bits = re.search(r"\d+", keras.backend.standardize_dtype(dtype))
    return int(bits[0]) // 8 if bits else 1
