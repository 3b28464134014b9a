"""A functional model as a list of steps, each with its shapes for one image."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import keras

import mobilenets
from mobilenets.nesting import is_nested, is_prepared

Shape = tuple[int, ...]


class Step(NamedTuple):
    """An operation of a model.

    Attributes:
        operation: the layer.
        sources: names of the steps whose outputs it reads.
        inputs: shapes of its inputs, without the batch.
        output: shape of its output, without the batch.
    """

    operation: keras.Operation
    sources: tuple[str, ...]
    inputs: tuple[Shape, ...]
    output: Shape

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.operation.name

    @property
    def positions(self) -> int:
        """Number of positions in the output: all sizes but the channels, multiplied."""
        return math.prod(self.output[:-1])


def steps_of(model: keras.Model, image_size: int | tuple[int, int] | None = None) -> list[Step]:
    """Returns the operations of a functional model in the order in which Keras runs them.

    Args:
        model: a network of `mobilenets`, or a model built on its layers; fused or not.
        image_size: height and width in pixels (or one number for both), for a model with an open input size.

    Raises:
        ValueError: if the model is neither functional nor sequential, contains a layer that is called twice, has
            another input size, or has an open input size and no `image_size` is given.
    """
    model = as_functional(model)
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(f"Only a functional model can be measured, not {model!r}.")
    makers: dict[int, str] = {}
    outputs: dict[str, Shape] = {}
    steps = []
    for operation in model.operations:
        tensor = operation.output
        sources = _makers(makers, keras.tree.flatten(operation.input), operation.name)
        shapes = tuple(outputs[source] for source in sources)
        output = _output_shape(operation, shapes) if shapes else _image_shape(tensor.shape[1:], image_size)
        makers[id(tensor)], outputs[operation.name] = operation.name, output
        steps.append(Step(operation, sources, shapes, output))
    _makers(makers, model.outputs, model.name)
    return steps


def as_functional(model: keras.Model) -> keras.Model:
    """Returns the model itself, or a flat copy of one that contains models, resizes its images or is sequential."""
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(f"The model {model.name!r} is not built: call it on images first.")
    known = isinstance(model, keras.Model) and (isinstance(model, keras.Sequential) or hasattr(model, "operations"))
    if known and (isinstance(model, keras.Sequential) or is_nested(model) or is_prepared(model)):
        return mobilenets.flat(model)
    return model


def _makers(makers: Mapping[int, str], tensors: Iterable[keras.KerasTensor], reader: str) -> tuple[str, ...]:
    """Returns the names of the operations with these outputs. Keras records only the first call of an operation."""
    try:
        return tuple(makers[id(tensor)] for tensor in tensors)
    except KeyError:
        raise ValueError(f"{reader!r} reads a layer that is called more than once, which cannot be measured.") from None


def _image_shape(shape: tuple[int | None, ...], image_size: int | tuple[int, int] | None) -> Shape:
    sizes = (image_size, image_size) if isinstance(image_size, int | None) else tuple(image_size)
    filled = tuple(own or other for own, other in zip(shape[:2], sizes, strict=True))
    if None in filled:
        raise ValueError("The model takes images of any size; image_size is required.")
    if any(size not in (None, own) for size, own in zip(sizes, filled, strict=True)):
        raise ValueError(f"The model takes images of {filled[0]}x{filled[1]}, not {sizes[0]}x{sizes[1]}.")
    return (*filled, *shape[2:])  # type: ignore[arg-type]  # no size is None here


def _output_shape(operation: keras.Operation, shapes: tuple[Shape, ...]) -> Shape:
    batched = [(1, *shape) for shape in shapes]
    return tuple(operation.compute_output_shape(batched[0] if len(batched) == 1 else batched))[1:]
