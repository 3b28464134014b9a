"""Gives a network in a graph its slim scope, where somebody renamed it or left it out.

The rule is the one for variables, `converters.scopes.networks_in`. Its names are those of the variables that each
convolution would have, because a graph may have lost the names of its constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from converters.graphs.plain_nodes import PlainNode
from converters.graphs.wrappers import CONVOLUTIONS, without_wrappers
from converters.scopes import NetworkScope, networks_in
from mobilenets import SCOPES
from mobilenets.families import convolutions

if TYPE_CHECKING:
    import tensorflow as tf

_POOL = re.compile("(Max|Avg)Pool|Predictions$")
_LEAVES = (
    "weights",
    "depthwise_weights",
    "pointwise_weights",
    "biases",
    *(f"BatchNorm/{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")),
)


def with_slim_scopes(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Returns the graph, or a copy in which the scope of its network has slim's name.

    ``mobilenet_v2/Conv/Conv2D`` becomes ``MobilenetV2/Conv/Conv2D``, at any depth; ``Conv/Conv2D`` too. What is
    outside of the network keeps its name.
    """
    network = _renamed_network(graph.node)
    if network is None:
        return graph
    renamed = type(graph)()
    renamed.CopyFrom(graph)
    for node in renamed.node:
        _rename(node, network)
    return renamed


def nodes_with_slim_scopes(nodes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Does the same to the nodes of a graph, by their names; they may be read without TensorFlow."""
    network = _renamed_network(nodes.values())
    return nodes if network is None else {new.name: new for new in (_copy(n, network) for n in nodes.values())}


def _renamed_network(nodes: Iterable[Any]) -> NetworkScope | None:
    """Returns the network in a graph; None if there is none, or if its scope has slim's name."""
    networks = networks_in(
        f"{scope}/{leaf}"
        for node in nodes
        if node.op in CONVOLUTIONS and (scope := without_wrappers(node.name))
        for leaf in _LEAVES
    )
    if not networks or any(network.path.rpartition("/")[2] in SCOPES.values() for network in networks):
        return None
    return networks[0]


def _copy(node: Any, network: NetworkScope) -> Any:
    if isinstance(node, PlainNode):
        inputs = tuple(_slim_name(name, network) for name in node.input)
        return node._replace(name=_slim_name(node.name, network), input=inputs)
    copy = type(node)()
    copy.CopyFrom(node)
    _rename(copy, network)
    return copy


def _rename(node: Any, network: NetworkScope) -> None:
    node.name = _slim_name(node.name, network)
    node.input[:] = [_slim_name(name, network) for name in node.input]


def _slim_name(name: str, network: NetworkScope) -> str:
    control = "^" if name.startswith("^") else ""
    plain, colon, output = name.removeprefix("^").partition(":")
    own = network.path.rpartition("/")[2]
    parts = plain.split("/")
    if own:
        parts = [SCOPES[network.family] if part == own else part for part in parts]
    elif parts[0] in {conv.scope.split("/")[1] for conv in convolutions(network.family, 1.0)} or _POOL.match(parts[0]):
        parts = [SCOPES[network.family], *parts]
    return control + "/".join(parts) + colon + output
