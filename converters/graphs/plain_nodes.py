"""The nodes of a graph read without TensorFlow: enough to see which layers it has, not to run it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from checkpoints.messages import MESSAGES
from checkpoints.wire import Bytes, Message, WireError, fields, parse

_NODE = MESSAGES["GraphDef"]["node"].number
_GRAPH = MESSAGES["MetaGraphDef"]["graph_def"].number
_NAME, _OP, _INPUT = (MESSAGES["NodeDef"][field].number for field in ("name", "op", "input"))
_TEXT = 2  # the wire type of texts and messages
MAX_PARTS = 1_000_000
"""Most inputs and attributes of a graph, each of which takes time; a node, which takes memory, counts as five more."""


class PlainNode(NamedTuple):
    """A node as TensorFlow's ``NodeDef``.

    Attributes:
        name: its name.
        op: its operation.
        input: names of the nodes that it takes.
        raw: its bytes; few nodes are asked for their attributes, so these are read when they are.
    """

    name: str
    op: str
    input: tuple[str, ...]
    raw: memoryview

    @property
    def attr(self) -> Mapping[str, Message]:
        """``{name: AttrValue}``; a `checkpoints.wire.WireError` if the node is damaged."""
        return {entry.key: entry.value for entry in parse("NodeDef", self.raw).attr}


def plain_nodes(graph: Bytes) -> dict[str, PlainNode]:
    """Returns the nodes of a ``GraphDef`` in binary form by their names.

    Raises:
        checkpoints.wire.WireError: the bytes are no graph, or one of too many nodes.
    """
    return _plain_nodes(graph, _Parts())


def plain_nodes_of_meta_graph(meta_graph: Bytes) -> dict[str, PlainNode]:
    """Returns the nodes of the graph in a ``MetaGraphDef``, such as a checkpoint's ``.meta`` file.

    Raises:
        checkpoints.wire.WireError: the bytes are no such message, or one of too many nodes.
    """
    nodes: dict[str, PlainNode] = {}
    parts = _Parts()
    for number, _, raw in parts.of(meta_graph):
        if number == _GRAPH:
            nodes |= _plain_nodes(raw, parts)
    return nodes


class _Parts:
    """Counts the fields of messages."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, data: Bytes) -> Iterator[tuple[int, int, memoryview]]:
        for number, wire, raw, _ in fields(data):
            self.count += 1
            if self.count > MAX_PARTS:
                raise WireError(f"it has more than {MAX_PARTS:,} nodes, inputs and attributes")
            yield number, wire, raw


def _plain_nodes(graph: Bytes, parts: _Parts) -> dict[str, PlainNode]:
    nodes = {}
    for number, _, raw in parts.of(graph):
        if number != _NODE:
            continue
        parts.count += 5
        texts: dict[int, list[str]] = {_NAME: [], _OP: [], _INPUT: []}
        for part, wire, text in parts.of(raw):
            if part in texts:
                texts[part].append(_decoded(text, wire))
        name, op = ((texts[field] or [""])[-1] for field in (_NAME, _OP))
        nodes[name] = PlainNode(name, op, tuple(texts[_INPUT]), raw)
    return nodes


def _decoded(text: memoryview, wire: int) -> str:
    if wire != _TEXT:
        raise WireError("a name of a node is no text")
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError:
        raise WireError("a name of a node is no UTF-8") from None
