"""What a slim graph says about its convolutions: strides, dilations, padding, and batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from converters.graphs.constants import attribute, check_constant
from converters.graphs.endpoints import plain_name
from converters.graphs.nodes import constant, data_inputs, needed, source, through_identities
from converters.graphs.wrappers import CONVOLUTIONS, without_wrappers

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from converters.graphs.plain_nodes import PlainNode

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")

_HEADS = ("Logits", "Predictions", "AuxLogits")

Axes = tuple[int, int]
Pair = int | Axes


def strides_of(
    graph: tf.compat.v1.GraphDef | Mapping[str, NodeDef] | Mapping[str, PlainNode],
) -> dict[str, tuple[Pair, Pair]]:
    """Returns ``{slim scope of a convolution: (stride, dilation)}``; a number stands for both axes.

    Args:
        graph: of any kind, also a training graph as in a checkpoint's ``.meta`` file; or its nodes by name.
    """
    strides: dict[str, tuple[Axes, Axes]] = {}
    nodes = _nodes(graph)
    for scope, node in convolutions(nodes):
        pairs = (_pair(node, "strides"), _dilation(nodes, node))
        merged = strides.setdefault(scope, pairs)  # a separable convolution has two operations
        strides[scope] = _larger(merged[0], pairs[0]), _larger(merged[1], pairs[1])
    return {scope: (_shortened(stride), _shortened(dilation)) for scope, (stride, dilation) in strides.items()}


def _larger(one: Axes, other: Axes) -> Axes:
    return max(one[0], other[0]), max(one[1], other[1])


def _shortened(axes: Axes) -> Pair:
    return axes[0] if axes[0] == axes[1] else axes


def paddings_of(graph: tf.compat.v1.GraphDef | Mapping[str, NodeDef] | Mapping[str, PlainNode]) -> dict[str, str]:
    """``{slim scope of a convolution: "SAME", "VALID" or "EXPLICIT"}``; the last: an operation before it pads."""
    paddings = {}
    nodes = _nodes(graph)
    for scope, node in convolutions(nodes):
        padding = _padding(nodes, node)
        # The second operation of a separable convolution is 1x1, for which padding means nothing.
        if scope not in paddings or node.op == "DepthwiseConv2dNative":
            paddings[scope] = padding
    return paddings


def folded_scopes(nodes: Mapping[str, NodeDef]) -> tuple[str, ...]:
    """Returns the slim scopes of the convolutions without a batch norm and without biases of their own.

    Their batch norms are folded into the weights; the heads, which never have one, are left out.
    """
    normalized = set()
    for node in nodes.values():
        scope, _, rest = (plain_name(node.name) or "").partition("/BatchNorm")
        if rest and (node.op in FUSED or node.op == "Rsqrt" or (rest.endswith("/mul_1") and node.op == "Mul")):
            normalized.add(scope)
        if node.op == "BiasAdd" and not rest and scope.endswith("/BiasAdd"):
            weights = through_identities(nodes, data_inputs(node)[1]) if len(data_inputs(node)) > 1 else None
            if weights is not None and weights.name.endswith("biases"):
                normalized.add(scope.removesuffix("/BiasAdd"))
    scopes = dict.fromkeys(scope for scope, _ in convolutions(nodes))
    return tuple(s for s in scopes if s not in normalized and not any(head in s.split("/") for head in _HEADS))


def epsilons_of(nodes: Mapping[str, NodeDef]) -> dict[str, float]:
    """``{slim scope of a batch norm: its epsilon}``, of fused batch norms and of those made of single operations."""
    epsilons = {}
    for node in nodes.values():
        scope, norm, rest = (plain_name(node.name) or "").partition("/BatchNorm")
        if norm and node.op in FUSED:
            epsilons[scope + norm] = attribute(node, "epsilon").f
        elif norm and rest.endswith("batchnorm/add") and node.op in ("Add", "AddV2"):
            for value in (constant(nodes, name) for name in data_inputs(node)):
                if value is not None and np.size(value) == 1:
                    epsilons[scope + norm] = float(value)
    return epsilons


def computes_batch_statistics(nodes: Iterable[NodeDef]) -> bool:
    """Returns whether a batch norm takes mean and variance from the batch, as in training."""
    for node in nodes:
        if node.op in FUSED and ("is_training" not in node.attr or node.attr["is_training"].b):
            return True
        if node.op == "Mean" and "/BatchNorm/moments" in node.name and plain_name(node.name):
            return True
    return False


def first_convolution(nodes: Mapping[str, NodeDef], path: object) -> NodeDef | None:
    """Returns the convolution that no other comes before; None where the graph has none, or several."""
    candidates = [node for node in nodes.values() if node.op in CONVOLUTIONS and node.input]
    named = [node for node in candidates if (_scope(node) or "").endswith(("/Conv2d_0", "/Conv", "/Conv2d_1a_7x7"))]
    for node in named or candidates:
        before = needed(nodes, data_inputs(node)[:1], path)
        if not any(other.op in CONVOLUTIONS for other in before):
            return node
    return None


def declared_image_size(nodes: Mapping[str, NodeDef]) -> tuple[int | None, int | None] | None:
    """Height and width of the images in the only placeholder, None for any; None where it is not declared."""
    shapes = [
        [dim.size for dim in attribute(node, "shape").shape.dim] for node in nodes.values() if node.op == "Placeholder"
    ]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return None
    height, width = (size if size > 0 else None for size in shapes[0][1:3])
    return height, width


def _nodes(graph: tf.compat.v1.GraphDef | Mapping) -> Mapping[str, NodeDef]:
    return graph if isinstance(graph, Mapping) else {node.name: node for node in graph.node}


def convolutions(nodes: Mapping[str, NodeDef]) -> Iterator[tuple[str, NodeDef]]:
    """Yields slim scope and node of every convolution of the networks; a separable one has two."""
    for node in nodes.values():
        if node.op in CONVOLUTIONS and (scope := _scope(node)):
            yield scope, node


def _scope(node: NodeDef) -> str | None:
    name = plain_name(node.name)
    if name is None:
        return None
    scope = without_wrappers(name)
    return scope if "/" in scope else None


def _pair(node: NodeDef, key: str) -> Axes:
    """Height and width of strides or dilations; (1, 1) where the node does not say."""
    values = tuple(attribute(node, key).list.i)
    if len(values) != 4:
        return (1, 1)
    return values[2:] if attribute(node, "data_format").s == b"NCHW" else values[1:3]


def _dilation(nodes: Mapping[str, NodeDef], node: NodeDef) -> Axes:
    """Of the operation itself, or of the SpaceToBatchND before it, as TensorFlow 1 writes atrous convolutions."""
    before = _before(nodes, node)
    if before is not None and before.op == "SpaceToBatchND" and len(before.input) > 1:
        block = _checked_constant(nodes, source(before.input[1]))
        if block is not None and block.size in (1, 2):
            rates = block.ravel()
            return int(rates[0]), int(rates[-1])
    return _pair(node, "dilations")


def _padding(nodes: Mapping[str, NodeDef], node: NodeDef) -> str:
    before = _before(nodes, node)
    padding = bytes(attribute(node, "padding").s).decode("ascii", "replace")
    if before is None or padding != "VALID":
        return padding
    if before.op in ("Pad", "PadV2", "MirrorPad"):
        return "EXPLICIT"
    if before.op == "SpaceToBatchND" and len(before.input) > 2:
        # It pads for SAME on both sides, and for VALID at the end alone, up to a multiple of the dilation.
        amounts = _checked_constant(nodes, source(before.input[2]))
        scope = source(before.name).rpartition("/")[0]
        if amounts is None:
            amounts = _checked_constant(nodes, f"{scope}/required_space_to_batch_paddings/base_paddings")
        start = None if amounts is None or amounts.ndim != 2 else amounts[:, 0].max()
        return "VALID" if start == 0 and not _is_pointwise(nodes, node) else "SAME"
    return padding


def _is_pointwise(nodes: Mapping[str, NodeDef], node: NodeDef) -> bool:
    weights = through_identities(nodes, data_inputs(node)[1]) if len(data_inputs(node)) > 1 else None
    dims = attribute(weights, "value").tensor.tensor_shape.dim if weights is not None else []
    return [dim.size for dim in dims[:2]] == [1, 1]


def _before(nodes: Mapping[str, NodeDef], node: NodeDef) -> NodeDef | None:
    inputs = data_inputs(node)
    return through_identities(nodes, inputs[0]) if inputs else None


def _checked_constant(nodes: Mapping[str, NodeDef], name: str) -> np.ndarray | None:
    """Returns a small constant's value; None where it is none, or a damaged one."""
    node = through_identities(nodes, name)
    if node is None or node.op != "Const":
        return None
    try:
        return constant(nodes, name) if check_constant("", node) <= 1024 else None
    except ValueError:
        return None
