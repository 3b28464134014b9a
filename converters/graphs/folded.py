"""The convolutions of a graph with what follows them folded in: kernels and biases, by slim name.

Tools that prepare a graph for inference fold batch norms into the weights, wholly or in part, and rename constants. The
names of the convolutions stay. So each convolution is followed through the operations that scale and shift its output
by constants, whatever they are: a bias, a batch norm, one that is folded in part, one written as many operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from converters.errors import ConversionError
from converters.graphs.constants import attribute
from converters.tensorflow_extra import need_tensorflow
from converters.text import brief

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.node_def_pb2 import NodeDef
from converters.graphs.endpoints import endpoint_ops, plain_name
from converters.graphs.layers import FUSED, computes_batch_statistics, convolutions
from converters.graphs.nodes import bare, check_types, data_inputs, needed, source
from converters.graphs.operations import check_operations
from converters.graphs.wrappers import CONVOLUTIONS

_SCALING = ("Mul", "RealDiv", "Div", *FUSED)
# They pass values on: dilated convolutions end in one, and a float network has no fake quantization.
_PASSING = ("Identity", "BatchToSpaceND", "StopGradient")
_FAKE_QUANTIZATION = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel")
_AFFINE = ("BiasAdd", "BiasAddV1", "Add", "AddV2", "Sub", *_SCALING, *_PASSING)
_KERNELS = ("weights", "depthwise_weights", "pointwise_weights")
_VARIABLES = (*_KERNELS, "biases", "gamma", "beta", "moving_mean", "moving_variance")

Nodes: TypeAlias = "Mapping[str, NodeDef]"


def network_nodes(nodes: Nodes, path: object) -> dict[str, NodeDef]:
    """Returns the nodes that the endpoints of a network need; none where the graph has no network of these families."""
    operations = endpoint_ops(nodes)
    return {node.name: node for node in needed(nodes, operations.values(), path)} if operations else {}


def has_named_variables(nodes: Nodes) -> bool:
    """Returns whether every convolution has its kernel, and a batch norm or a bias, as constants of slim's names.

    A graph that computes the statistics of the batch counts as one that has: folding would lose its variables.
    """
    if computes_batch_statistics(nodes.values()):
        return True
    constants = {plain_name(node.name) for node in nodes.values() if node.op == "Const"}
    return all(
        any(f"{scope}/{leaf}" in constants for leaf in _KERNELS)
        and (f"{scope}/BatchNorm/moving_mean" in constants or f"{scope}/biases" in constants)
        for scope, _ in convolutions(nodes)
    )


def scales_outputs(nodes: Nodes) -> bool:
    """Whether a convolution is followed by an operation that scales its output: a batch norm, or what is left of it."""
    readers = _readers(nodes)
    return any(
        nodes[name].op in _SCALING for _, node in convolutions(nodes) for name in _chain(nodes, readers, node.name)
    )


def folded_variables(nodes: Nodes, path: object) -> dict[str, np.ndarray]:
    """Kernels and biases of all convolutions, with scales and shifts folded in.

    Every chain of operations is run in float64 on 0 and on 1, which gives its scale and its shift. A kernel becomes
    ``kernel * scale``, rounded once to float32; a scale of 1 leaves it as it is.

    Args:
        nodes: what the endpoints of the network need, by name.
        path: the file, for messages.

    Returns:
        ``{slim name: float32 array}``: ``weights``, ``depthwise_weights``, ``pointwise_weights`` and ``biases``.

    Raises:
        ConversionError: a kernel is not constant, a convolution is not one of these networks, or TensorFlow is not
            installed.
    """
    need_tensorflow(f"Folding the batch norms of {path} into its kernels")
    named = dict(_named(nodes))
    readers = _readers(nodes)
    ends = {name: [name, *_chain(nodes, readers, name)][-1] for name in named}
    kernels = {name: _kernel_of(nodes[name], path) for name in named}
    zero, one = _evaluate(nodes, [*ends.values(), *kernels.values()], list(named), path)
    variables: dict[str, np.ndarray] = {}
    for name, (scope, leaf) in named.items():
        kernel = zero[kernels[name]]
        if kernel.ndim != 4:
            raise ConversionError(f"{path} is damaged: the kernel of {brief(name)} has the shape {kernel.shape}.")
        channels = kernel.shape[2] * kernel.shape[3] if leaf == "depthwise_weights" else kernel.shape[3]
        shift = zero[ends[name]].reshape(-1, zero[ends[name]].shape[-1])[0]
        scale = one[ends[name]].reshape(-1, one[ends[name]].shape[-1])[0] - shift
        shift, scale = (np.broadcast_to(values, (channels,)) for values in (shift, scale))
        shape = kernel.shape[2:] if leaf == "depthwise_weights" else kernel.shape[3:]
        variables[f"{scope}/{leaf}"] = (kernel * scale.reshape(shape)).astype(np.float32)
        if f"{scope}/biases" not in variables or leaf != "depthwise_weights":
            variables[f"{scope}/biases"] = shift.astype(np.float32)
    return variables


def _named(nodes: Nodes):
    """``(node name, (scope, leaf))`` of every convolution; a separable one has two operations."""
    by_scope: dict[str, list[NodeDef]] = defaultdict(list)
    for scope, node in convolutions(nodes):
        by_scope[scope].append(node)
    for scope, group in by_scope.items():
        separable = len(group) > 1
        for node in sorted(group, key=lambda node: node.op, reverse=True):
            full = "pointwise_weights" if separable else "weights"
            yield node.name, (scope, full if node.op == "Conv2D" else "depthwise_weights")


def _kernel_of(node: NodeDef, path: object) -> str:
    inputs = data_inputs(node)
    if len(inputs) < 2:
        raise ConversionError(f"{path} is damaged: its convolution {brief(node.name)} has no kernel.")
    if attribute(node, "data_format").s not in (b"", b"NHWC"):
        raise ConversionError(
            f"{path} has channels first in {brief(node.name)}; its batch norms are folded, which is read with channels "
            "last only. Convert the checkpoint instead."
        )
    return inputs[1]


def _readers(nodes: Nodes) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = defaultdict(list)
    for node in nodes.values():
        for name in dict.fromkeys(data_inputs(node)):
            readers[name].append(node.name)
    return readers


def _chain(nodes: Nodes, readers: Mapping[str, list[str]], name: str) -> list[str]:
    """The operations after a convolution, each the only reader of the one before, that scale and shift by constants."""
    chain: list[str] = []
    while len(readers.get(name, ())) == 1 and len(chain) < 100:
        node = nodes[readers[name][0]]
        inputs = data_inputs(node)
        others = [other for other in inputs if other != name]
        divides_by = node.op in ("RealDiv", "Div") and inputs[0] != name
        if node.op not in _AFFINE or divides_by or inputs.count(name) != 1:
            break
        if node.op in FUSED and inputs[0] != name:
            break
        if not all(_is_constant(nodes, other) for other in others):
            break
        chain.append(node.name)
        name = node.name
    return chain


def _is_constant(nodes: Nodes, name: str) -> bool:
    """Returns whether a node depends on constants alone, and on few of them."""
    seen: set[str] = set()
    open_names = [name]
    while open_names:
        name = open_names.pop()
        if (
            (node := nodes.get(name)) is None
            or node.op in CONVOLUTIONS
            or node.op.startswith("Placeholder")
            or len(seen) > 1000
        ):
            return False
        if node.name not in seen:
            seen.add(node.name)
            open_names.extend(data_inputs(node))
    return True


def _evaluate(nodes: Nodes, outputs: list[str], convolved: list[str], path: object) -> list[dict[str, np.ndarray]]:
    """Returns the outputs in float64, for all convolutions giving 0 and giving 1."""
    import tensorflow as tf

    from converters.graphs.float64 import as_float64
    from converters.graphs.sessions import as_it_stands

    fed = {name: _placeholder(name) for name in convolved}
    part = {name: bare(fed.get(name, node)) for name, node in nodes.items()}
    for node in part.values():
        if node.op in (*_PASSING, *_FAKE_QUANTIZATION):
            node.op, node.input[:] = "Identity", node.input[:1]
            for key in [key for key in node.attr if key != "T"]:
                del node.attr[key]
            node.attr["T"].type = tf.float32.as_datatype_enum
    outputs = list(dict.fromkeys(outputs))
    part = {node.name: node for node in needed(part, outputs, path)}
    others = [node.name for node in part.values() if node.op.startswith("Placeholder") and node.name not in fed]
    if others:
        raise ConversionError(f"{path} has a kernel that is not constant: it depends on {brief(others[0])}.")
    # The constants are those of the file, whose size was checked when its network was.
    check_operations(path, part.values(), {}, sum(node.ByteSize() for node in part.values()))
    check_types(path, part.values())
    feeds = [name for name in convolved if name in part]
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(tf.compat.v1.GraphDef(node=as_float64(part, path)), name="")
            tensors = {name: graph.get_tensor_by_name(f"{source(name)}:0") for name in outputs}
            with tf.compat.v1.Session(graph=graph, config=as_it_stands()) as session:
                lengths = {name: _channels(nodes, name, session, graph) for name in feeds}
                return [
                    session.run(tensors, {f"{name}:0": np.full((1, 1, 1, lengths[name]), value) for name in feeds})
                    for value in (0.0, 1.0)
                ]
    except (ValueError, TypeError, KeyError, IndexError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"{path} has convolutions that cannot be folded: {brief(reason)}") from error


def _channels(nodes: Nodes, name: str, session: tf.compat.v1.Session, graph: tf.Graph) -> int:
    shape = graph.get_tensor_by_name(f"{data_inputs(nodes[name])[1]}:0").shape
    lengths = shape.as_list() if shape.rank == 4 else session.run(f"{data_inputs(nodes[name])[1]}:0").shape
    return int(lengths[2] * lengths[3] if nodes[name].op.startswith("Depthwise") else lengths[3])


def _placeholder(name: str) -> NodeDef:
    import tensorflow as tf

    node = tf.compat.v1.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["shape"].shape.unknown_rank = True
    return node


def constants_by_name(nodes: Nodes) -> list[str]:
    """Returns the constants with the names of variables that no Identity reads, of the network's convolutions."""
    scopes = {scope for scope, _ in convolutions(nodes)}
    return [
        node.name
        for node in nodes.values()
        if node.op == "Const" and _leaf(node.name) in _VARIABLES and _owner(node.name) in scopes
    ]


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _owner(name: str) -> str:
    scope = (plain_name(name) or "").rpartition("/")[0]
    return scope.removesuffix("/BatchNorm")
