"""The nodes of a graph read without TensorFlow: enough to see which layers it has, not to run it."""

from collections.abc import Mapping
from typing import NamedTuple

from checkpoints.messages import MESSAGES
from checkpoints.wire import Bytes, Message, fields, parse

_NODE = MESSAGES["GraphDef"]["node"].number
_GRAPH = MESSAGES["MetaGraphDef"]["graph_def"].number


class PlainNode(NamedTuple):
    """A node, with the attributes of TensorFlow's ``NodeDef`` that are read here.

    Attributes:
        name: its name.
        op: its operation.
        input: names of the nodes that it takes.
        attr: ``{name: AttrValue}``.
    """

    name: str
    op: str
    input: tuple[str, ...]
    attr: Mapping[str, Message]


def plain_nodes(graph: Bytes) -> dict[str, PlainNode]:
    """Returns the nodes of a ``GraphDef`` in binary form by their names.

    Raises:
        checkpoints.wire.WireError: the bytes are no graph.
    """
    nodes = (parse("NodeDef", raw) for number, _, raw, _ in fields(graph) if number == _NODE)
    return {
        node.name: PlainNode(node.name, node.op, tuple(node.input), {entry.key: entry.value for entry in node.attr})
        for node in nodes
    }


def plain_nodes_of_meta_graph(meta_graph: Bytes) -> dict[str, PlainNode]:
    """Returns the nodes of the graph in a ``MetaGraphDef``, such as a checkpoint's ``.meta`` file.

    Raises:
        checkpoints.wire.WireError: the bytes are no such message.
    """
    found: dict[str, PlainNode] = {}
    for number, _, raw, _ in fields(meta_graph):
        if number == _GRAPH:
            found |= plain_nodes(raw)
    return found
