"""The nodes of a GraphDef by name: reading the file, following inputs, and cutting the graph to what outputs need."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from checkpoints.errors import CheckpointError
from checkpoints.frozen_graph import graph_bytes
from checkpoints.wire import WireError
from converters.errors import ConversionError
from converters.graphs.constants import ITEM_BYTES, STRING, value_of
from converters.graphs.operations import MAX_NODES
from converters.graphs.plain_nodes import PlainNode, plain_nodes
from converters.tensorflow_extra import has_tensorflow
from converters.text import brief

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.node_def_pb2 import NodeDef

MAX_FILE_NODES = 1_000_000


def read_graph(path: str | pathlib.Path) -> tf.compat.v1.GraphDef:
    """Reads a ``GraphDef``: binary, or text (``.pbtxt``).

    Raises:
        ConversionError: the file is not one.
        OSError: it cannot be read.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ConversionError(f"{path} is not a frozen graph: it is not a file.")
    try:
        graph = tf.compat.v1.GraphDef.FromString(graph_bytes(path))
    except CheckpointError as error:
        raise ConversionError(str(error)) from error
    except DecodeError:
        raise ConversionError(f"{path} is not a frozen graph: it cannot be decoded as a graph.") from None
    if len(graph.node) > MAX_FILE_NODES:
        raise ConversionError(f"{path} is not run: it has {len(graph.node)} nodes, more than {MAX_FILE_NODES}.")
    return graph


def read_nodes(path: str | pathlib.Path) -> Mapping[str, NodeDef] | Mapping[str, PlainNode]:
    """Reads the nodes of a graph by their names; without TensorFlow as `PlainNode`, which can be read but not run.

    Raises:
        ConversionError: the file is no graph.
        OSError: it cannot be read.
    """
    if has_tensorflow():
        return by_name(read_graph(path), path)
    try:
        nodes = plain_nodes(graph_bytes(pathlib.Path(path)))
        for node in nodes.values():
            _ = node.attr  # raises the error of a damaged node here, with the name of the file
    except CheckpointError as error:
        raise ConversionError(str(error)) from error
    except WireError as error:
        raise ConversionError(f"{path} is not a frozen graph: {error}.") from None
    return nodes


def by_name(graph: tf.compat.v1.GraphDef, path: object) -> dict[str, NodeDef]:
    """Returns the nodes of a graph by their names, each of which must be a node's own."""
    nodes = {node.name: node for node in graph.node}
    if len(nodes) < len(graph.node):
        raise ConversionError(
            f"{path} is damaged: {len(graph.node) - len(nodes)} of its nodes have the name of another."
        )
    return nodes


def source(name: str) -> str:
    """Returns the node that an input names: ``^a`` and ``a:1`` name ``a``."""
    return name.removeprefix("^").partition(":")[0]


def needed(nodes: Mapping[str, NodeDef], names: Iterable[str], path: object, *stops: str) -> list[NodeDef]:
    """Returns the nodes that nodes with these names need, through data and control inputs, in the order of the file.

    Args:
        nodes: all nodes by name.
        names: what is needed.
        path: the file, for the message.
        stops: nodes whose inputs are not followed, because they are fed.
    """
    seen, open_names = set(), [source(name) for name in names]
    for name in open_names:
        if name not in nodes:
            raise ConversionError(f"{path} is damaged: it has no node {brief(name)}, which it names as an output.")
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        if len(seen) > MAX_NODES:
            raise ConversionError(
                f"{path} is not run: its endpoints need more than {MAX_NODES} nodes; freeze the graph again "
                "with only the network in it."
            )
        for operand in nodes[name].input if name not in stops else ():
            if source(operand) not in nodes:
                raise ConversionError(
                    f"{path} is damaged: its node {brief(name)} takes {brief(operand)}, which is not in it."
                )
            open_names.append(source(operand))
    return [node for name, node in nodes.items() if name in seen]


def data_inputs(node: NodeDef) -> list[str]:
    """Returns the names of the nodes that give a node its data."""
    return [source(name) for name in node.input if not name.startswith("^")]


def through_identities(nodes: Mapping[str, NodeDef], name: str) -> NodeDef | None:
    """Returns the first node before ``name``, itself included, that is no Identity or None where the graph has none."""
    for _ in range(100):  # a damaged graph may go round in a circle
        node = nodes.get(name)
        if node is None or node.op not in ("Identity", "StopGradient", "ReadVariableOp") or not node.input:
            return node
        name = source(node.input[0])
    return None


def constant(nodes: Mapping[str, NodeDef], name: str) -> np.ndarray | None:
    """Returns the value of a constant, directly or behind an Identity; None where ``name`` is none."""
    node = through_identities(nodes, name)
    return value_of(node) if node is not None and node.op == "Const" else None


def bare(node: NodeDef) -> NodeDef:
    """A copy of a node without device, colocation and other hints, which name nodes and machines that may be absent."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.device = ""
    copy.ClearField("experimental_debug_info")
    for key in [key for key in copy.attr if key.startswith("_")]:
        del copy.attr[key]
    return copy


def check_types(path: object, nodes: Iterable[NodeDef], others: frozenset[int] = frozenset()) -> None:
    """Checks that every type that a node names is one of numbers or text, so that TensorFlow knows what to do with it.

    Raises:
        ConversionError: a node names another type.
    """
    for node in nodes:
        for value in node.attr.values():
            for dtype in [value.type] if value.WhichOneof("value") == "type" else value.list.type:
                if dtype not in ITEM_BYTES and dtype != STRING and dtype not in others:
                    raise ConversionError(
                        f"{path} is not run: its node {brief(node.name)} ({brief(node.op)}) computes with dtype "
                        f"{dtype}, which none of these networks has."
                    )
