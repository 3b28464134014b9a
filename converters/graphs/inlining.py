"""Functions of a TF2 SavedModel as one flat graph, so that nothing but the checked operations is loaded or run."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from converters.graphs.constants import attribute
from converters.graphs.nodes import bare

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class FlatFunction(NamedTuple):
    """The body of a function without calls.

    Attributes:
        nodes: its operations; an argument is a placeholder with the argument's name.
        arguments: the names of the placeholders, in order.
        outputs: the names of the tensors that the function returns, in order.
        effects: the operations that a call runs although no output needs them.
    """

    nodes: list[NodeDef]
    arguments: list[str]
    outputs: list[str]
    effects: list[str]


def inlined(name: str, functions: Mapping[str, FunctionDef], prefix: str = "") -> FlatFunction:
    """Returns a function with all functions that it calls in it.

    Args:
        name: of the function, which `converters.graphs.operations.check_operations` accepts.
        functions: the library.
        prefix: put before the names of all nodes.
    """
    function = FunctionDef()
    function.CopyFrom(functions[name])
    called: dict[str, str] = {}  # TensorFlow looks for functions in the default graph, where those of a file are not
    for node in function.node_def:
        if node.op in _CALLS:
            called[prefix + node.name] = attribute(node, "f").func.name
            node.attr["f"].func.name = ""
    with tf.Graph().as_default():
        graph, flat = function_def_to_graph_def(function)
    nodes: list[NodeDef] = []
    for node in graph.node:
        node = bare(node)
        node.name = prefix + node.name
        node.input[:] = [_prefixed(source, prefix) for source in node.input]
        if node.name in called:
            nodes.extend(_call(node, inlined(called[node.name], functions, f"{node.name}/body/")))
        else:
            nodes.append(node)
    signature = function.signature
    return FlatFunction(
        nodes,
        [prefix + argument.name for argument in signature.input_arg],
        [prefix + flat[function.ret[output.name]] for output in signature.output_arg],
        [prefix + function.control_ret[output] for output in signature.control_output],
    )


def _call(node: NodeDef, body: FlatFunction) -> Iterator[NodeDef]:
    """Yields the nodes in place of a call: the body, and under the call's name what it returns."""
    inputs = [name for name in node.input if not name.startswith("^")]
    waits = [name for name in node.input if name.startswith("^")]
    arguments = dict(zip(body.arguments, inputs, strict=True))
    for part in body.nodes:
        if part.name in arguments:
            dtype = part.attr["dtype"].type
            part = tf.compat.v1.NodeDef(name=part.name, op="Identity", input=[arguments[part.name], *waits])
            part.attr["T"].type = dtype
        yield part
    effects = [f"^{name}" for name in body.effects]
    types = attribute(node, "Tout").list.type
    result = tf.compat.v1.NodeDef(name=node.name, op="IdentityN" if types else "NoOp")
    result.input.extend([*body.outputs, *effects])
    if types:
        result.attr["T"].list.type[:] = types
    yield result


def _prefixed(name: str, prefix: str) -> str:
    return f"^{prefix}{name[1:]}" if name.startswith("^") else prefix + name
