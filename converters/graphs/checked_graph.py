"""A graph with variables that is run on images: only the operations that its outputs need, and those checked."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from converters.errors import ConversionError
from converters.graphs.constants import RESOURCE, attribute
from converters.graphs.frozen_graph import IMPORT_ERRORS, check_sizes, first_line
from converters.graphs.nodes import bare, check_types, needed, source
from converters.graphs.operations import VARIABLES, check_operations
from converters.graphs.sessions import as_it_stands
from converters.text import brief

# Shapes of the state of dropout's random numbers, which has no name in a module.
_SEEDS: tuple[list[int], ...] = ([], [2])
_HANDLES = ("VarHandleOp", "VariableV2", "Variable")


class CheckedGraph:
    """Operations and the values of their variables.

    No saver, initializer or main operation of the file is used: every variable is assigned its value from the
    checkpoint, each time that the graph is run.

    Args:
        path: the file or folder, for messages.
        nodes: all nodes by name.
        values: ``{variable name: array}``.
        outputs: the tensors to compute, by any key.
        updates: the names of operations to run with them.
        images: the name of the node that is fed with images; "" if there is none.
        scalars: the names of nodes that are fed with numbers.

    Raises:
        ConversionError: what the outputs need is refused.
    """

    def __init__(
        self,
        path: object,
        nodes: Mapping[str, NodeDef],
        values: Mapping[str, np.ndarray],
        outputs: Mapping[object, str],
        updates: Iterable[str] = (),
        images: str = "",
        scalars: Iterable[str] = (),
    ):
        self._path, self._values, self._outputs = path, values, dict(outputs)
        self._updates, self._images, scalars = list(updates), images, tuple(scalars)
        cut = needed(nodes, [*self._outputs.values(), *self._updates], path, images, *scalars)
        fed = {name: _placeholder(name) for name in (images, *scalars) if name}
        cut = [fed.pop(node.name, None) or bare(node) for node in cut]
        # Values stand in a file of their own, so that constants are few; a graph need not even name its images.
        check_operations(path, cut, {}, 0, VARIABLES)
        check_types(path, cut, frozenset([RESOURCE]))
        others = [node.name for node in cut if node.op == "Placeholder" and node.name not in (images, *scalars)]
        if others:
            raise ConversionError(f"{path} is not run: it needs {brief(others[0])} besides the images.")
        for node in cut:
            for key in ("container", "allowed_devices"):
                if key in node.attr:
                    del node.attr[key]
        self._definition = tf.compat.v1.GraphDef(node=[*cut, *fed.values()])

    def run(
        self, images: np.ndarray | None = None, scalars: Mapping[str, float] | None = None, then: Iterable[str] = ()
    ) -> tuple[dict, dict[str, np.ndarray]]:
        """Computes the outputs and runs the updates.

        Args:
            images: float32.
            scalars: ``{node: number}``.
            then: variables to read afterwards.

        Returns:
            The outputs by key, and the variables ``then`` by name.

        Raises:
            ConversionError: TensorFlow cannot run the graph, or a variable has no value.
        """
        then = set(then)
        feeds: dict[str, np.ndarray | np.float32] = {} if images is None else {self._images: images}
        feeds |= {name: np.float32(value) for name, value in (scalars or {}).items()}
        for node in self._definition.node:
            if node.name in feeds:
                node.CopyFrom(_placeholder(node.name, feeds[node.name].shape))
        graph = tf.Graph()
        try:
            with graph.as_default():
                tf.import_graph_def(self._definition, name="")
                check_sizes(self._path, graph, 1 if images is None else images.size)
                assignments, values = self._assignments(graph)
                reads = {name: _read(handle) for name, handle in _handles(graph).items() if name in then}
            outputs = {key: graph.get_tensor_by_name(_tensor(name)) for key, name in self._outputs.items()}
            updates = [graph.get_operation_by_name(name) for name in self._updates]
            with tf.compat.v1.Session(graph=graph, config=as_it_stands()) as session:
                session.run(assignments, values)
                computed, _ = session.run((outputs, updates), {f"{name}:0": value for name, value in feeds.items()})
                return computed, session.run(reads)
        except ConversionError:
            raise
        except IMPORT_ERRORS as error:
            raise ConversionError(
                f"{self._path} has a graph that TensorFlow does not run: {first_line(error)}"
            ) from error

    def _assignments(self, graph: tf.Graph) -> tuple[list, dict]:
        assignments, values = [], {}
        for name, handle in _handles(graph).items():
            array = self._values.get(name)
            dtype = tf.as_dtype(handle.op.get_attr("dtype"))
            lengths = [dim.size for dim in handle.op.get_attr("shape").dim]
            if array is None and dtype.is_integer and lengths in _SEEDS:
                array = np.zeros(lengths, dtype.as_numpy_dtype)
            if array is None:
                raise ConversionError(f"{self._path} is damaged: its variable {brief(name)} has no value.")
            value = tf.compat.v1.placeholder(dtype, array.shape)
            values[value] = array
            assign = (
                tf.raw_ops.AssignVariableOp(resource=handle, value=value)
                if handle.dtype == tf.resource
                else tf.raw_ops.Assign(ref=handle, value=value).op
            )
            assignments.append(assign)
        return assignments, values


def variable_node(name: str, variable: str, dtype: int, shape) -> NodeDef:
    """Returns a node that holds a variable in memory."""
    node = tf.compat.v1.NodeDef(name=name, op="VarHandleOp")
    node.attr["shared_name"].s = variable.encode()
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.CopyFrom(shape)
    return node


def _handles(graph: tf.Graph) -> dict[str, tf.Tensor]:
    """``{variable name: its handle}``; TensorFlow 1 leaves ``shared_name`` empty where it is the node's name."""
    handles = {}
    for operation in graph.get_operations():
        if operation.type in _HANDLES:
            shared = attribute(operation.node_def, "shared_name").s.decode("utf-8", "replace")
            handles[shared or operation.name] = operation.outputs[0]
    return handles


def _read(handle: tf.Tensor) -> tf.Tensor:
    if handle.dtype == tf.resource:
        return tf.raw_ops.ReadVariableOp(resource=handle, dtype=handle.op.get_attr("dtype"))
    return tf.identity(handle)


def _placeholder(name: str, shape: tuple[int, ...] | None = None) -> NodeDef:
    node = tf.compat.v1.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["shape"].shape.unknown_rank = shape is None
    if shape is not None:
        node.attr["shape"].shape.unknown_rank = False
        for length in shape:
            node.attr["shape"].shape.dim.add(size=length)
    return node


def _tensor(name: str) -> str:
    return name if ":" in name else f"{source(name)}:0"
