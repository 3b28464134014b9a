"""Frozen graphs: a TensorFlow graph (``.pb``, or ``.pbtxt`` as text) in which the variables are constants."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto

from checkpoints.errors import CheckpointError
from checkpoints.variable_file import Spec, VariableFile

# A constant may store one value for all of its elements, so the size of the file is no limit.
MAX_FILLED_BYTES = 2**30


SUFFIXES = (".pb", ".pbtxt")
# The first byte of a GraphDef with nodes (field 1, a message); that of a SavedModel is another.
_FIRST_BYTE_OF_A_GRAPH = b"\x0a"


def is_graph(path: Path) -> bool:
    """Whether ``path`` is a file that is not empty, with the suffix of a graph."""
    return path.suffix in SUFFIXES and path.is_file() and path.stat().st_size > 0


def is_renamed_graph(folder: Path) -> bool:
    """Whether a folder's ``saved_model.pb`` is not a SavedModel but a frozen graph that was renamed."""
    file = folder / "saved_model.pb"
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(1) == _FIRST_BYTE_OF_A_GRAPH


def parse_graph(path: Path) -> tf.compat.v1.GraphDef:
    """Parses a binary (``.pb``) or a text graph (``.pbtxt``).

    Raises:
        CheckpointError: the file is no graph.
    """
    data = path.read_bytes()
    if path.suffix == ".pbtxt":
        try:
            return text_format.Parse(data.decode(), tf.compat.v1.GraphDef())
        except (text_format.ParseError, UnicodeDecodeError):
            raise CheckpointError(f"{path} is not a text graph: it cannot be decoded as one.") from None
    if path.name == "saved_model.pb" and not data.startswith(_FIRST_BYTE_OF_A_GRAPH):
        raise CheckpointError(
            f"{path} is not a frozen graph but part of a SavedModel; give its folder {path.parent} instead."
        )
    try:
        return tf.compat.v1.GraphDef.FromString(data)
    except DecodeError:
        raise CheckpointError(f"{path} is not a frozen graph: it cannot be decoded as a graph.") from None


def open_frozen_graph(
    path: Path, unread: Callable[[tf.compat.v1.GraphDef], Iterable[str]] | None = None
) -> VariableFile:
    """Opens a frozen graph.

    Freezing turns a variable into a constant of the same name, and the operation that reads the variable into an
    Identity (``MobilenetV1/Conv2d_0/weights`` -> ``.../read``). All other constants are inputs of other operations.
    The format is one protobuf message without checksums. The file is therefore parsed at once, and a flipped bit in a
    value is not detected; names, dtypes and sizes occur twice in the graph and are compared.

    Args:
        path: the file.
        unread: names, of a graph, the constants that are variables although no Identity reads them.

    Raises:
        CheckpointError: the file is no graph, or one of its constants is inconsistent.
    """
    graph = parse_graph(path)
    if any(node.op in ("VariableV2", "VarHandleOp") for node in graph.node):
        raise CheckpointError(f"{path} is a graph but not a frozen one: its variables have no values.")
    _check_names(graph, path)
    constants = {node.name: node.attr for node in graph.node if node.op == "Const"}
    sources = {node.input[0].removesuffix(":0") for node in graph.node if node.op == "Identity" and node.input}
    sources.update(unread(graph) if unread else ())
    tensors = {name: attributes["value"].tensor for name, attributes in constants.items() if name in sources}
    for name, tensor in tensors.items():
        if tensor.dtype != constants[name]["dtype"].type or _has_unknown_fields(tensor):
            raise CheckpointError(f"{path} is damaged: its constant {name} does not match the attributes of its node.")
    specs = {name: _spec(tensor, name, path) for name, tensor in tensors.items() if tensor.dtype != tf.string}
    return VariableFile(
        path, "frozen graph", (path,), specs, lambda name: tf.make_ndarray(tensors[name]), checked=False
    )


def _check_names(graph: tf.compat.v1.GraphDef, path: Path) -> None:
    """Checks that the names of nodes are unique and that every input is the name of a node."""
    names = {node.name for node in graph.node}
    if len(names) < len(graph.node):
        raise CheckpointError(
            f"{path} is damaged: {len(graph.node) - len(names)} of its nodes have the name of another."
        )
    for node in graph.node:
        for source in node.input:
            if source.removeprefix("^").partition(":")[0] not in names:
                raise CheckpointError(f"{path} is damaged: the input {source} of its node {node.name} does not exist.")


def _has_unknown_fields(tensor: TensorProto) -> bool:
    """Whether the message has fields unknown to its type, for example values whose field number is damaged."""
    size = tensor.ByteSize()
    tensor.DiscardUnknownFields()
    return tensor.ByteSize() != size


def _spec(tensor: TensorProto, name: str, path: Path) -> Spec:
    lengths = tuple(dim.size for dim in tensor.tensor_shape.dim)
    try:
        dtype = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
    except (TypeError, KeyError):  # KeyError: a dtype that NumPy does not have
        raise CheckpointError(f"{path} is damaged: its constant {name} has no known dtype.") from None
    spec = Spec(lengths, dtype)
    if len(lengths) > 32 or min(lengths, default=0) < 0:
        raise CheckpointError(f"{path} is damaged: its constant {name} has the shape {lengths}.")
    if len(tensor.tensor_content) not in (0, spec.num_bytes) or spec.num_bytes > MAX_FILLED_BYTES:
        raise CheckpointError(f"{path} is damaged: its constant {name} {lengths} does not hold {spec.num_bytes} bytes.")
    return spec
