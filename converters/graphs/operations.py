"""The operations that a foreign graph may run: those of the networks, their preprocessing and their heads.

Every operation here is stateless and touches nothing outside the graph, apart from the random numbers of dropout and
from the assertions of preprocessing. Anything else is refused by name before TensorFlow imports the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from converters.errors import ConversionError
from converters.graphs.constants import check_constant
from converters.text import brief

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

MAX_NODES = 50_000  # an Inception V2 with all its training operations has 6,000
MAX_DEPTH = 50  # of functions that call functions
CONSTANTS_FACTOR, CONSTANTS_BYTES = 2, 64 << 20  # declared by constants: twice the file's size, and 64 MiB

_STATELESS = """
Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient Assert CheckNumerics
Conv2D DepthwiseConv2dNative BiasAdd BiasAddV1 MatMul MaxPool MaxPoolV2 AvgPool Relu Relu6 Sigmoid Tanh Elu
FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Softmax LogSoftmax L2Loss
Add AddV2 AddN Sub Mul Div RealDiv DivNoNan FloorDiv FloorMod Mod Maximum Minimum Neg Abs Square SquaredDifference
Sqrt Rsqrt Reciprocal Inv Exp Log Pow Floor Ceil Round Rint Sign
Mean Sum Max Min Prod All Any ArgMax ArgMin TopK TopKV2
Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot Select SelectV2
Reshape Squeeze ExpandDims Shape ShapeN Size Rank Cast Transpose Reverse ReverseV2 ConjugateTranspose
Slice StridedSlice Pack Unpack Concat ConcatV2 ConcatOffset Split SplitV Gather GatherV2 ZerosLike OnesLike
Pad PadV2 MirrorPad SpaceToBatchND BatchToSpaceND SpaceToBatch BatchToSpace SpaceToDepth DepthToSpace
Fill Tile Range BroadcastTo BroadcastArgs OneHot ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
RandomUniform
StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomGetKeyCounter StatelessRandomGetAlg Bitcast
"""
STATELESS = frozenset(_STATELESS.split())
"""What a graph of constants may compute with."""

_VARIABLES = """
VarHandleOp ReadVariableOp AssignVariableOp AssignSubVariableOp AssignAddVariableOp VarIsInitializedOp VariableShape
DisableCopyOnRead Variable VariableV2 Assign AssignSub AssignAdd IsVariableInitialized
"""
VARIABLES = STATELESS | frozenset(_VARIABLES.split())
"""The same with variables in memory: reads, and the updates of batch norm's moving statistics."""

_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


def check_operations(
    path: object,
    nodes: Iterable[NodeDef],
    functions: Mapping[str, FunctionDef],
    file_bytes: int,
    allowed: frozenset[str] = STATELESS,
) -> set[str]:
    """Checks every node that will run, through all functions that they call.

    Args:
        path: the file, for the message.
        nodes: the nodes that the outputs need.
        functions: the functions of the graph's library, by name.
        file_bytes: the size of the file, which bounds what its constants may declare.
        allowed: the operations that may run.

    Returns:
        The names of the functions that are called.

    Raises:
        ConversionError: an operation is not allowed, a function calls itself, or a bound is exceeded; nothing ran.
    """
    sizes: dict[str, int] = {}  # nodes of a function, those of the functions that it calls included
    declared = [0]
    bound = CONSTANTS_FACTOR * file_bytes + CONSTANTS_BYTES

    def count(body: Iterable[NodeDef], open_calls: tuple[str, ...]) -> int:
        total = 0
        for node in body:
            total += 1
            if node.op == "Const":
                declared[0] += check_constant(path, node)
                if declared[0] > bound:
                    raise ConversionError(
                        f"{path} is not run: its constants declare more than {bound} bytes, with {brief(node.name)} "
                        f"the last, while the file has {file_bytes}; freeze the graph again."
                    )
            for name in _called(path, node, functions, allowed):
                if name in open_calls:
                    raise ConversionError(
                        f"{path} is not run: its function {brief(name)} calls itself, which no network does."
                    )
                if len(open_calls) >= MAX_DEPTH:
                    raise ConversionError(
                        f"{path} is not run: its functions call each other more than {MAX_DEPTH} deep."
                    )
                if name not in sizes:
                    sizes[name] = count(functions[name].node_def, (*open_calls, name))
                total += sizes[name]
            if total > MAX_NODES:
                raise ConversionError(
                    f"{path} is not run: its endpoints need more than {MAX_NODES} nodes; freeze the graph again "
                    "with only the network in it."
                )
        return total

    count(nodes, ())
    return set(sizes)


def _called(path: object, node: NodeDef, functions: Mapping[str, FunctionDef], allowed: frozenset[str]) -> list[str]:
    """The functions that a node calls; a library may name one like an operation, and TensorFlow then calls it."""
    names = [name for value in node.attr.values() for name in function_names(value)]
    if node.op in functions:
        names.append(node.op)
    elif node.op not in (_CALLS if names else allowed):
        raise ConversionError(
            f"{path} is not run: its node {brief(node.name)} has the operation {brief(node.op)}, which none of these "
            "networks needs; export the graph again without it, or convert the checkpoint instead."
        )
    for name in names:
        if name not in functions:
            raise ConversionError(
                f"{path} is damaged: its node {brief(node.name)} calls {brief(name)}, which is not in it."
            )
    return names


def function_names(value) -> Iterable[str]:
    """Returns the functions that an attribute names."""
    kind = value.WhichOneof("value")
    if kind == "func":
        return itertools.chain([value.func.name], *(function_names(inner) for inner in value.func.attr.values()))
    return [function.name for function in value.list.func] if kind == "list" else []
