"""A functional model as a list of steps, each with the shapes that it has for one image of a given size."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import keras

Shape = tuple[int, ...]


class Step(NamedTuple):
    """An operation of a model.

    Attributes:
        operation: the layer.
        sources: names of the steps whose results it reads.
        inputs: shapes of what it reads, without the batch.
        output: shape of its result, without the batch.
    """

    operation: keras.Operation
    sources: tuple[str, ...]
    inputs: tuple[Shape, ...]
    output: Shape

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.operation.name

    @property
    def positions(self) -> int:
        """How many vectors of channels its result consists of."""
        return math.prod(self.output[:-1])


def steps(model: keras.Model, image_size: int | tuple[int, int] | None = None) -> list[Step]:
    """The operations of a functional model, in the order in which Keras runs them.

    Args:
        model: a network of this package, or a model that was built on one layer by layer; fused or not.
        image_size: height and width in pixels (or one number for both) where the model takes images of any size.

    Raises:
        ValueError: if the model is not functional, has a model or a layer called twice in it, takes images of
            another size, or takes any size and `image_size` is not given.
    """
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(f"Only a functional model can be measured, not {model!r}.")
    makers: dict[int, str] = {}
    outputs: dict[str, Shape] = {}
    found = []
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            raise ValueError(f"The model {operation.name!r} is a layer of another; measure it by itself.")
        result = operation.output
        sources = _makers(makers, keras.tree.flatten(operation.input), operation.name)
        shapes = tuple(outputs[source] for source in sources)
        output = _output_shape(operation, shapes) if shapes else _image_shape(result.shape[1:], image_size)
        makers[id(result)], outputs[operation.name] = operation.name, output
        found.append(Step(operation, sources, shapes, output))
    _makers(makers, model.outputs, model.name)
    return found


def _makers(makers: Mapping[int, str], tensors: Iterable[keras.KerasTensor], reader: str) -> tuple[str, ...]:
    """Names of the operations that make tensors. Keras tells of an operation's first call only."""
    try:
        return tuple(makers[id(tensor)] for tensor in tensors)
    except KeyError:
        raise ValueError(f"{reader!r} reads a layer that is called more than once, which cannot be measured.") from None


def _image_shape(shape: tuple[int | None, ...], image_size: int | tuple[int, int] | None) -> Shape:
    sizes = (image_size, image_size) if isinstance(image_size, int | None) else tuple(image_size)
    filled = tuple(own or given for own, given in zip(shape[:2], sizes, strict=True))
    if None in filled:
        raise ValueError("The model takes images of any size; say for which one (image_size).")
    if any(given not in (None, size) for given, size in zip(sizes, filled, strict=True)):
        raise ValueError(f"The model takes images of {filled[0]}x{filled[1]}, not {sizes[0]}x{sizes[1]}.")
    return (*filled, *shape[2:])


def _output_shape(operation: keras.Operation, shapes: tuple[Shape, ...]) -> Shape:
    batched = [(1, *shape) for shape in shapes]
    return tuple(operation.compute_output_shape(batched[0] if len(batched) == 1 else batched))[1:]
