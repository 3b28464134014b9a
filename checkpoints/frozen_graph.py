"""Frozen graphs: a TensorFlow graph (``.pb``) in which the variables have become constants."""

import contextlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto

from checkpoints.errors import CheckpointError
from checkpoints.variable_file import Spec, VariableFile

# A constant may give one value for all of its elements, so that the file's own size is no bound.
MAX_FILLED_BYTES = 2**30


def open_frozen_graph(path: Path) -> VariableFile:
    """Open a frozen graph.

    Freezing leaves a variable's name to its constant, and the variable's read operation behind it as an Identity
    (``MobilenetV1/Conv2d_0/weights`` -> ``.../read``); all other constants are read by what computes. The format is
    one message without checksums, so that the file is parsed whole, and a flipped bit in a value goes unseen; what
    the graph says twice (names, dtypes, sizes) is compared.

    Raises:
        CheckpointError: The file is no graph, or a constant of it does not hold together.
    """
    try:
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    except DecodeError:
        raise CheckpointError(f"{path} is not a frozen graph: it does not parse as one.") from None
    if any(node.op in ("VariableV2", "VarHandleOp") for node in graph.node):
        raise CheckpointError(f"{path} is a graph but not a frozen one: its variables have no values.")
    _check_names(graph, path)
    constants = {node.name: node.attr for node in graph.node if node.op == "Const"}
    sources = {node.input[0].removesuffix(":0") for node in graph.node if node.op == "Identity" and node.input}
    tensors = {name: attributes["value"].tensor for name, attributes in constants.items() if name in sources}
    for name, tensor in tensors.items():
        if tensor.dtype != constants[name]["dtype"].type or _has_unknown_fields(tensor):
            raise CheckpointError(f"{path} is damaged: its constant {name} is not what its node says.")
    specs = {name: _spec(tensor, name, path) for name, tensor in tensors.items() if tensor.dtype != tf.string}

    return VariableFile(
        path,
        "frozen graph",
        [path],
        specs,
        lambda name: tf.make_ndarray(tensors[name]),
        contextlib.ExitStack(),
        checked=False,
    )


def _check_names(graph: tf.compat.v1.GraphDef, path: Path) -> None:
    """Check that every node has a name of its own, and that every input is the name of a node."""
    names = {node.name for node in graph.node}
    if len(names) < len(graph.node):
        raise CheckpointError(
            f"{path} is damaged: {len(graph.node) - len(names)} of its nodes have the name of another."
        )
    for node in graph.node:
        for source in node.input:
            if source.removeprefix("^").partition(":")[0] not in names:
                raise CheckpointError(f"{path} is damaged: its node {node.name} takes {source}, which is not in it.")


def _has_unknown_fields(tensor: TensorProto) -> bool:
    """Whether the message holds what its type does not know, as values do whose field number is damaged."""
    size = tensor.ByteSize()
    tensor.DiscardUnknownFields()
    return tensor.ByteSize() != size


def _spec(tensor: TensorProto, name: str, path: Path) -> Spec:
    lengths = tuple(dim.size for dim in tensor.tensor_shape.dim)
    try:
        dtype = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
    except TypeError:
        raise CheckpointError(f"{path} is damaged: its constant {name} has no known dtype.") from None
    spec = Spec(lengths, dtype)
    if len(lengths) > 32 or min(lengths, default=0) < 0:
        raise CheckpointError(f"{path} is damaged: its constant {name} has the shape {lengths}.")
    if len(tensor.tensor_content) not in (0, spec.num_bytes) or spec.num_bytes > MAX_FILLED_BYTES:
        raise CheckpointError(f"{path} is damaged: its constant {name} {lengths} does not hold {spec.num_bytes} bytes.")
    return spec
