"""Frozen graphs: a TensorFlow graph (``.pb``, or ``.pbtxt`` as text) in which the variables are constants."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from checkpoints.dtypes import DATA_TYPES, STRING, require_numbers
from checkpoints.errors import CheckpointError
from checkpoints.messages import MESSAGES
from checkpoints.tensor_proto import values_of
from checkpoints.variable_file import Spec, VariableFile, check_total
from checkpoints.wire import Message, WireError, fields, parse

# Fields of a ``GraphDef`` and their wire types: nodes, library, version, versions, information for debuggers.
_GRAPH_FIELDS = {1: 2, 2: 2, 3: 0, 4: 2, 5: 2}


SUFFIXES = (".pb", ".pbtxt")
# How a graph in text form begins, also one with the suffix of the binary form.
_TEXT = re.compile(rb"\s*(?:node|versions|library)\s*\{")
# The first byte of a graph with nodes; a SavedModel begins with its version.
NODE = b"\x0a"


def is_graph(path: Path) -> bool:
    """Returns whether ``path`` is a file that is not empty, with the suffix of a graph."""
    return path.suffix in SUFFIXES and path.is_file() and path.stat().st_size > 0


def graph_bytes(path: Path) -> bytes:
    """Reads a graph in binary form; one in text form is converted, for which TensorFlow is needed.

    Raises:
        CheckpointError: the file is no graph in text form, or part of a SavedModel.
    """
    data = path.read_bytes()
    if path.suffix == ".pbtxt" or _TEXT.match(data):
        try:
            import tensorflow as tf
            from google.protobuf import text_format
        except ImportError:
            raise CheckpointError(
                f"Reading the text graph {path} needs TensorFlow, which is not installed: "
                "pip install 'mobilenets[tensorflow]'."
            ) from None
        try:
            return text_format.Parse(data.decode(), tf.compat.v1.GraphDef()).SerializeToString()
        except (text_format.ParseError, UnicodeDecodeError):
            raise CheckpointError(f"{path} is not a text graph: it cannot be decoded as one.") from None
    if path.name == "saved_model.pb" and not data.startswith(NODE):
        raise CheckpointError(
            f"{path} is not a frozen graph but part of a SavedModel; give its folder {path.parent} instead."
        )
    return data


def open_frozen_graph(path: Path, unread: Iterable[str] = ()) -> VariableFile:
    """Opens a frozen graph.

    Freezing turns a variable into a constant of the same name, and the operation that reads the variable into an
    Identity (``MobilenetV1/Conv2d_0/weights`` -> ``.../read``). All other constants are inputs of other operations.
    The format is one protobuf message without checksums. The file is therefore parsed at once, and a flipped bit in a
    value is not detected; names, dtypes and sizes occur twice in the graph and are compared.

    Args:
        path: the file.
        unread: constants that are variables although no Identity reads them.

    Raises:
        CheckpointError: the file is no graph, or one of its constants is inconsistent.
    """
    try:
        data = graph_bytes(path)
        constants, sources = _scan(data, path)
    except WireError:
        raise CheckpointError(f"{path} is not a frozen graph: it cannot be decoded as a graph.") from None
    tensors = {}
    for name in (sources | set(unread)) & constants.keys():
        attributes = constants[name]
        tensors[name] = attributes["value"].tensor if "value" in attributes else Message("TensorProto", {})
        if "dtype" not in attributes or tensors[name].dtype != attributes["dtype"].type:
            raise CheckpointError(f"{path} is damaged: its constant {name} does not match the attributes of its node.")
    specs = {name: _spec(tensor, name, path) for name, tensor in tensors.items() if tensor.dtype != STRING}
    check_total(specs, len(data), path)  # a constant may store one value for all of its elements

    def read(name: str) -> np.ndarray:
        require_numbers(name, path, specs[name].dtype)
        return values_of(tensors[name], DATA_TYPES[tensors[name].dtype], specs[name].shape, filled=True)

    return VariableFile(path, "frozen graph", (path,), specs, read, checked=False)


def _scan(data: bytes, path: Path) -> tuple[dict[str, dict[str, Message]], set[str]]:
    """Returns the attributes of every constant by name, and the first inputs of all operations Identity.

    The nodes are read one by one, because the messages of all together would take much more memory than the file.
    """
    names: set[str] = set()
    inputs: dict[str, str] = {}
    constants, sources = {}, set()
    count, has_variables = 0, False
    for number, wire, raw, _ in fields(data):
        expected = _GRAPH_FIELDS.get(number)
        if wire != expected:
            raise WireError("a field of no graph")
        if number != MESSAGES["GraphDef"]["node"].number:
            continue
        node = parse("NodeDef", raw)
        count += 1
        names.add(node.name)
        has_variables |= node.op in ("VariableV2", "VarHandleOp")
        for source in node.input:
            inputs.setdefault(source.removeprefix("^").partition(":")[0], node.name)
        if node.op == "Const":
            constants[node.name] = {entry.key: entry.value for entry in node.attr}
        if node.op == "Identity" and node.input:
            sources.add(node.input[0].removesuffix(":0"))
    if has_variables:
        raise CheckpointError(f"{path} is a graph but not a frozen one: its variables have no values.")
    if len(names) < count:
        raise CheckpointError(f"{path} is damaged: {count - len(names)} of its nodes have the name of another.")
    for source, name in inputs.items():
        if source not in names:
            raise CheckpointError(f"{path} is damaged: the input {source} of its node {name} does not exist.")
    return constants, sources


def _spec(tensor: Message, name: str, path: Path) -> Spec:
    lengths = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype not in DATA_TYPES:
        raise CheckpointError(f"{path} is damaged: its constant {name} has no known dtype.")
    if tensor.tensor_shape.unknown_rank or len(lengths) > 32 or min(lengths, default=0) < 0:
        raise CheckpointError(f"{path} is damaged: its constant {name} has the shape {lengths}.")
    spec = Spec(lengths, DATA_TYPES[tensor.dtype].dtype)
    if len(tensor.tensor_content) not in (0, spec.num_bytes):
        raise CheckpointError(f"{path} is damaged: its constant {name} {lengths} does not hold {spec.num_bytes} bytes.")
    return spec
