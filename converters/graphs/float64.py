"""A float32 graph in float64: the same operations and the same numbers, computed exactly enough to judge by."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef

from converters.errors import ConversionError
from converters.graphs.constants import attribute, value_of
from converters.graphs.layers import FUSED
from converters.graphs.nodes import data_inputs, through_identities
from converters.text import brief

_FLOAT32, _FLOAT64 = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum


def as_float64(nodes: Mapping[str, NodeDef], path: object) -> list[NodeDef]:
    """Returns the nodes with every float32 a float64: constants, placeholders and the types of all operations.

    Constants keep their float32 value exactly, but for batch norm's epsilon: the code says 0.001, of which float32 has
    only the nearest number.

    Raises:
        ConversionError: an operation has no form in float64.
    """
    epsilons = set(_epsilons(nodes))
    widened: list[NodeDef] = []
    for node in nodes.values():
        widened.extend(_unfused(node, path) if node.op in FUSED else [node])
    for node in widened:
        for value in node.attr.values():
            kind = value.WhichOneof("value")
            if kind == "type" and value.type == _FLOAT32:
                value.type = _FLOAT64
            if kind == "list" and value.list.type:
                value.list.type[:] = [_FLOAT64 if dtype == _FLOAT32 else dtype for dtype in value.list.type]
            if kind == "tensor" and node.op == "Const" and value.tensor.dtype == _FLOAT32:
                array = value_of(node)
                array = _as_decimal(array) if node.name in epsilons else array.astype(np.float64)
                value.tensor.CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
    return widened


def _epsilons(nodes: Mapping[str, NodeDef]) -> Iterator[str]:
    """Yields the scalar constants that unfused batch norms add to a variance."""
    for node in nodes.values():
        if node.op != "Rsqrt" or not data_inputs(node):
            continue
        total = nodes.get(data_inputs(node)[0])
        if total is not None and total.op in ("Add", "AddV2") and "batchnorm" in total.name:
            for name in data_inputs(total):
                producer = through_identities(nodes, name)
                if producer is None or producer.op != "Const":
                    continue
                if not attribute(producer, "value").tensor.tensor_shape.dim:
                    yield producer.name


def _as_decimal(values: np.ndarray) -> np.ndarray:
    return np.array(float(str(np.float32(values))))


def _unfused(node: NodeDef, path: object) -> Iterator[NodeDef]:
    """Yields the operations of a fused batch norm, which TensorFlow has in no float64; the last has its name."""
    if attribute(node, "data_format").s not in (b"", b"NHWC"):
        raise ConversionError(
            f"{path} cannot be computed in float64: its batch norm {brief(node.name)} has channels first."
        )
    # What a proto leaves out has the operation's default.
    trains = node.attr["is_training"].b if "is_training" in node.attr else True
    epsilon = float(str(np.float32(node.attr["epsilon"].f))) if "epsilon" in node.attr else 1e-4
    with tf.Graph().as_default() as graph:
        x, g, b, m, v = (tf.compat.v1.placeholder(tf.float64, name=name) for name in "xgbmv")
        if trains:
            m = tf.reduce_mean(x, [0, 1, 2])
            v = tf.reduce_mean(tf.math.squared_difference(x, m), [0, 1, 2])
        scale = g * tf.math.rsqrt(v + tf.constant(epsilon, tf.float64))
        tf.add(x * scale, b - m * scale, name="out")
    sources = dict(zip("xgbmv", node.input[:5], strict=True))
    for part in graph.as_graph_def().node:
        if part.op == "Placeholder":
            continue
        part.name = node.name if part.name == "out" else f"{node.name}/{part.name}"
        part.input[:] = [sources.get(source, f"{node.name}/{source}") for source in part.input]
        yield part
