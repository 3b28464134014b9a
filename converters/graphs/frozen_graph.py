"""A frozen slim graph (``.pb``) as a reference: what its endpoints need is checked, and run as it stands."""

import math
import pathlib

import numpy as np
import tensorflow as tf

from converters.errors import ConversionError
from converters.graphs import layers
from converters.graphs.endpoints import endpoint_ops
from converters.graphs.float64 import as_float64
from converters.graphs.folded import scales_outputs
from converters.graphs.images import find_input, input_range, placeholder
from converters.graphs.nodes import bare, by_name, check_types, needed, read_graph
from converters.graphs.operations import check_operations
from converters.graphs.renamed_scopes import with_slim_scopes
from converters.graphs.sessions import as_it_stands
from converters.text import brief
from mobilenets import SCOPES

__all__ = ["FrozenGraph", "endpoint_ops"]

IMPORT_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, tf.errors.OpError)

# Elements of the largest tensor and of all together, as multiples of the images' plus a constant. The networks need 11
# and 300 times the images.
_LARGEST, _ALL, _CONSTANT = 100, 5000, 1 << 26


class FrozenGraph:
    """An inference graph with its variables frozen to constants.

    The graph is cut to what its endpoints need before TensorFlow imports it. What else the file has neither runs nor
    hinders; what the endpoints need is checked by `converters.graphs.operations`.

    Args:
        path: the ``.pb`` file (a binary ``GraphDef``).
        float64: whether to compute in float64 what the file computes in float32.
        scope: the scope of the network, where the graph has several.

    Attributes:
        image_size: ``(height, width)``, None where the graph leaves it open.
        channels: of the images.
        batch: how many images it takes at a time; None: any number.
        dtype: "float32" or "float64".
        input_range: the values of black and white that it takes.
        folded_scopes: the slim scopes of the convolutions whose batch norms are folded into the weights.
        folded: whether there are such.
        scales_outputs: whether a convolution has a batch norm, or what is left of one, after it.
        trains: whether its batch norms compute with the statistics of the batch (is_training=True).
        strides: ``{slim scope of a convolution: (stride, dilation)}``; a number stands for both axes.
        paddings: ``{slim scope of a convolution: "SAME", "VALID" or "EXPLICIT"}``; the last: a Pad is before it.

    Raises:
        ConversionError: the file is no frozen slim graph of these networks, or is refused.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | pathlib.Path, float64: bool = False, scope: str | None = None):
        self._path = path
        graph_def = with_slim_scopes(read_graph(path))
        nodes = by_name(graph_def, path)
        self._operations = endpoint_ops(nodes, scope)
        if not self._operations:
            raise ConversionError(f"{path} has no operation that a slim graph of {', '.join(SCOPES.values())} has.")
        whole = {node.name: node for node in needed(nodes, self._operations.values(), path)}
        self._images = images = find_input(whole, path, graph_def.library.function)
        cut = {node.name: node for node in needed(whole, self._operations.values(), path, images.node)}
        cut[images.node] = placeholder(images, images.shape, images.dtype)
        functions = {function.signature.name: function for function in graph_def.library.function}
        called = check_operations(path, cut.values(), functions, pathlib.Path(path).stat().st_size)
        bodies = [functions[name] for name in functions if name in called]
        check_types(path, [*cut.values(), *(node for body in bodies for node in body.node_def)])
        self._check_other_placeholders(cut)

        self.batch, height, width, channels = images.shape
        self.channels = channels or 3
        self.image_size = height, width
        self.folded_scopes = layers.folded_scopes(cut)
        self.folded = bool(self.folded_scopes)
        self.scales_outputs = scales_outputs(cut)
        self.trains = layers.computes_batch_statistics(cut.values())
        self.strides = layers.strides_of(cut)
        self.paddings = layers.paddings_of(cut)
        self.epsilons = layers.epsilons_of(cut)
        self.input_range = input_range(cut, images, path)
        cut = {name: bare(node) for name, node in cut.items()}
        if float64 and bodies:
            raise ConversionError(f"{path} cannot be computed in float64: it calls functions.")
        self._definition = tf.compat.v1.GraphDef(node=as_float64(cut, path) if float64 else cut.values())
        self._definition.library.function.extend(bodies)
        self.dtype = tf.as_dtype(tf.float64 if float64 else images.dtype).name
        self._imported: tuple[tuple, tf.Graph] | None = None
        self._try(height or 224, width or 224)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The hub names of the endpoints that the graph has."""
        return tuple(self._operations)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every endpoint for ``images``.

        Args:
            images: float ``(batch, height, width, channels)`` in [0, 1].

        Returns:
            ``{hub endpoint name: array}``; ``global_pool`` is ``(batch, 1, 1, channels)``.

        Raises:
            ConversionError: TensorFlow cannot run the graph on such images.
        """
        low, high = self.input_range
        images = (low + (high - low) * images.astype(np.float64)).astype(self.dtype)
        step = self.batch or len(images)
        batches = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        count = len(images)
        if self.batch and count < self.batch:
            images = np.concatenate([images, np.repeat(images[-1:], self.batch - count, axis=0)])
        graph = self._graph(images.shape)
        outputs = {name: graph.get_tensor_by_name(f"{node}:0") for name, node in self._operations.items()}
        try:
            with tf.compat.v1.Session(graph=graph, config=as_it_stands()) as session:
                arrays = session.run(outputs, {f"{self._images.node}:0": images})
        except IMPORT_ERRORS as error:
            raise ConversionError(
                f"{self._path} cannot be run on images of {images.shape}: {first_line(error)}"
            ) from error
        arrays = {name: _flat(name, array, len(images)) for name, array in arrays.items()}
        return {name: array[:count] for name, array in arrays.items() if array is not None}

    def _graph(self, shape: tuple[int, ...]) -> tf.Graph:
        """Returns the graph for images of this shape, in which TensorFlow knows the shape of everything."""
        if self._imported is None or self._imported[0] != shape:
            dtype = tf.as_dtype(self.dtype).as_datatype_enum
            for node in self._definition.node:
                if node.name == self._images.node:
                    node.CopyFrom(placeholder(self._images, shape, dtype))
            graph = tf.Graph()
            try:
                with graph.as_default():
                    tf.import_graph_def(self._definition, name="")
            except IMPORT_ERRORS as error:
                raise ConversionError(
                    f"{self._path} has a graph that TensorFlow does not accept: {first_line(error)}"
                ) from error
            check_sizes(self._path, graph, math.prod(shape))
            self._imported = shape, graph
        return self._imported[1]

    def _try(self, height: int, width: int) -> None:
        """Imports the graph; what takes images from a decoder may take one at a time without saying so."""
        try:
            self._graph((self.batch or 2, height, width, self.channels))
        except ConversionError:
            if self.batch is not None:
                raise
            self._graph((1, height, width, self.channels))
            self.batch = 1

    def _check_other_placeholders(self, nodes) -> None:
        others = [name for name, node in nodes.items() if node.op == "Placeholder" and name != self._images.node]
        if others:
            raise ConversionError(
                f"{self._path} must have one placeholder, for the images; its endpoints also need "
                f"{', '.join(map(brief, others[:5]))}; freeze the graph for inference."
            )


def check_sizes(path: object, graph: tf.Graph, image_elements: int) -> None:
    """Checks what the tensors of an imported graph take, as far as TensorFlow infers their shapes.

    Raises:
        ConversionError: one of them, or all together, are too large for a network on such images.
    """
    total = 0
    for operation in graph.get_operations():
        for tensor in operation.outputs if operation.type != "Const" else ():
            elements = tensor.shape.num_elements() or 0
            total += elements
            if elements > _LARGEST * image_elements + _CONSTANT or total > _ALL * image_elements + 16 * _CONSTANT:
                raise ConversionError(
                    f"{path} is not run: its node {brief(operation.name)} ({operation.type}) gives a tensor of "
                    f"{tuple(tensor.shape)}, more than a network on such images needs."
                )


def _flat(name: str, array: np.ndarray, batch: int) -> np.ndarray | None:
    """Logits and predictions as ``(batch, classes)``, also before the operation that drops their 1x1 axes.

    None where they are a map, or of another number of images.
    """
    if not name.endswith(("/Logits", "/Predictions")) or array.ndim == 2:
        return array
    return array.reshape(batch, -1) if array.ndim == 4 and array.shape[:3] == (batch, 1, 1) else None


def first_line(error: Exception) -> str:
    """Returns the first line of an error, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return brief(lines[0]).rstrip(".") + "."
