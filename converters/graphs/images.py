"""Where images enter a slim graph, and which values it expects: found from what lies before the first convolution."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from converters.errors import ConversionError
from converters.graphs.constants import ITEM_BYTES, attribute, check_constant
from converters.graphs.float64 import as_float64
from converters.graphs.layers import first_convolution
from converters.graphs.nodes import bare, constant, data_inputs, needed, through_identities
from converters.graphs.operations import check_operations
from converters.graphs.sessions import as_it_stands
from converters.graphs.wrappers import CONVOLUTIONS
from converters.text import brief

# What may stand between the images and the first convolution and is run; before it lie decoders, crops and so on.
_OPERATIONS = """
Identity StopGradient Sub Mul Div RealDiv Add AddV2 BiasAdd Neg Maximum Minimum Reverse ReverseV2 Split Unpack Pack
ConcatV2 Pad PadV2 MirrorPad SpaceToBatchND FakeQuantWithMinMaxVars FakeQuantWithMinMaxArgs CheckNumerics
"""
_ARITHMETIC = frozenset(_OPERATIONS.split())
_PADS = ("Pad", "PadV2", "MirrorPad", "SpaceToBatchND", "Identity")
_FED = ("Placeholder", "PlaceholderWithDefault")

Shape = tuple[int | None, int | None, int | None, int | None]


class ImageInput(NamedTuple):
    """The node that is fed with images.

    Attributes:
        node: its name.
        shape: ``(batch, height, width, channels)``, None where the graph leaves a length open.
        dtype: the number of its type.
    """

    node: str
    shape: Shape
    dtype: int


def find_input(nodes: Mapping[str, NodeDef], path: object, functions: Iterable[FunctionDef] = ()) -> ImageInput:
    """Returns where images enter: the placeholder, or what arithmetic takes from decoding and resizing.

    Args:
        nodes: what the endpoints need, by name.
        path: the file, for the message.
        functions: of the graph's library, in one of which images may be decoded and resized; none is run.

    Raises:
        ConversionError: there is no such place, or there are several.
    """
    first = first_convolution(nodes, path)
    entries = _entries(nodes, data_inputs(first)[0], path) if first is not None else _placeholders(nodes.values())
    if len(entries) != 1:
        names = ", ".join(map(brief, entries[:5])) or "none"
        raise ConversionError(f"{path} must have one placeholder, for the images; it has {len(entries)}: {names}.")
    node = nodes[entries[0]]
    channels = _weight_channels(nodes, first) if first is not None else None
    shape = _shape(nodes, node)
    if shape[1:3] == (None, None):
        before = {node.name: node for node in needed(nodes, [node.name], path)}
        bodies = [{part.name: part for part in function.node_def} for function in functions]
        shape = (shape[0], *_resized([before, *bodies]), shape[3])
    if channels and shape[3] is None:
        shape = (*shape[:3], channels)
    dtype = attribute(node, "dtype").type if node.op in _FED else attribute(first or node, "T").type
    if dtype not in ITEM_BYTES:
        raise ConversionError(f"{path} takes images as dtype {dtype}; the networks take floating-point numbers.")
    return ImageInput(node.name, shape, dtype)


def input_range(nodes: Mapping[str, NodeDef], images: ImageInput, path: object) -> tuple[float, float]:
    """Returns the values of black and white, which the first convolution takes as -1 and 1.

    The arithmetic between the images and the first convolution is run on constant images. Where it is not the same
    affine map for all channels, the names decide: hub modules take [0, 1], slim's graphs [-1, 1].
    """
    by_name = (0.0, 1.0) if any("hub_input/" in name for name in nodes) else (-1.0, 1.0)
    first = first_convolution(nodes, path)
    if first is None:
        return by_name
    last = data_inputs(first)[0]
    for _ in range(10):
        if last == images.node or nodes[last].op not in _PADS or not data_inputs(nodes[last]):
            break
        last = data_inputs(nodes[last])[0]
    if last == images.node:
        return (-1.0, 1.0)
    values = _evaluate(nodes, images, last, path)
    if values is None:
        return by_name
    zero, half, one = values
    slope = one - zero
    if np.ptp(zero) > 1e-4 or np.ptp(one) > 1e-4 or abs(half - (zero + one) / 2).max() > 1e-4 * abs(slope).max():
        return by_name
    if not slope.all() or not np.isfinite(values).all():
        return by_name
    low, high = (float((target - zero[0]) / slope[0]) for target in (-1.0, 1.0))
    digits = 5 - math.floor(math.log10(abs(high - low)))  # constants such as 1 / 127.5 are rounded to float32
    return round(low, digits) + 0.0, round(high, digits) + 0.0


def placeholder(images: ImageInput, shape: tuple[int | None, ...], dtype: int) -> NodeDef:
    """Returns a placeholder of this shape in place of the node that is fed."""
    node = tf.compat.v1.NodeDef(name=images.node, op="Placeholder")
    node.attr["dtype"].type = dtype
    for length in shape:
        node.attr["shape"].shape.dim.add(size=-1 if length is None else length)
    return node


def _entries(nodes: Mapping[str, NodeDef], name: str, path: object) -> list[str]:
    """Returns what the arithmetic that ends in ``name`` takes: neither arithmetic itself nor constant."""
    entries, seen, open_names = [], set(), [name]
    while open_names:
        name = open_names.pop()
        node = nodes[name]
        if name in seen or through_identities(nodes, name) is None:
            continue
        seen.add(name)
        if node.op in _ARITHMETIC and data_inputs(node):
            open_names.extend(data_inputs(node))
        elif node.op != "Const" and (node.op in _FED or _depends_on_images(nodes, name, path)):
            entries.append(name)
    return entries


def _depends_on_images(nodes: Mapping[str, NodeDef], name: str, path: object) -> bool:
    before = needed(nodes, [name], path)
    return bool(_placeholders(before)) or any(node.op not in _ARITHMETIC | {"Const"} for node in before)


def _placeholders(nodes: Iterable[NodeDef]) -> list[str]:
    return [node.name for node in nodes if node.op == "Placeholder"]


def _shape(nodes: Mapping[str, NodeDef], node: NodeDef) -> Shape:
    """Of the placeholder, or of what a resize or reshape to constant lengths gives."""
    lengths = [dim.size for dim in attribute(node, "shape").shape.dim] if node.op in _FED else []
    if node.op.startswith("Resize") or node.op == "Reshape":
        size = _constant(nodes, node, 1)
        if size is not None and size.size == 2:
            lengths = [-1, *size.ravel(), -1]
        elif size is not None and size.size == 4:
            lengths = [*size.ravel()]
    if len(lengths) != 4:
        return None, None, None, None
    batch, height, width, channels = (int(length) if length > 0 else None for length in lengths)
    return batch, height, width, channels


def _resized(graphs: Iterable[Mapping[str, NodeDef]]) -> tuple[int | None, int | None]:
    """Height and width that images are resized to, where that is one size."""
    sizes = {_shape(nodes, node)[1:3] for nodes in graphs for node in nodes.values() if node.op.startswith("Resize")}
    return sizes.pop() if len(sizes) == 1 else (None, None)


def _constant(nodes: Mapping[str, NodeDef], node: NodeDef, position: int) -> np.ndarray | None:
    inputs = data_inputs(node)
    if len(inputs) <= position:
        return None
    producer = through_identities(nodes, inputs[position])
    if producer is None or producer.op != "Const" or check_constant("", producer) > 1024:
        return None
    return constant(nodes, producer.name)


def _weight_channels(nodes: Mapping[str, NodeDef], convolution: NodeDef) -> int | None:
    """Returns the channels of the images, from the weights of the first convolution."""
    inputs = data_inputs(convolution)
    weights = through_identities(nodes, inputs[1]) if len(inputs) > 1 and convolution.op in CONVOLUTIONS else None
    dims = attribute(weights, "value").tensor.tensor_shape.dim if weights is not None else []
    return dims[2].size if len(dims) == 4 else None


def _evaluate(nodes: Mapping[str, NodeDef], images: ImageInput, last: str, path: object) -> np.ndarray | None:
    """Returns the channels that arithmetic gives for images of 0, 0.5 and 1; None where it cannot be run on them."""
    part = {node.name: node for node in needed(nodes, [last], path, images.node)}
    sample = (1, *(length or 64 for length in images.shape[1:]))
    part[images.node] = placeholder(images, sample, images.dtype)
    part = {name: bare(node) for name, node in part.items()}
    check_operations(path, part.values(), {}, 0)
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(tf.compat.v1.GraphDef(node=as_float64(part, path)), name="")
            start, result = (graph.get_tensor_by_name(f"{name}:0") for name in (images.node, last))
            with tf.compat.v1.Session(config=as_it_stands()) as session:
                outputs = [session.run(result, {start: np.full(start.shape.as_list(), value)}) for value in (0, 0.5, 1)]
        return np.stack([output[0, 0, 0] for output in outputs]).astype(np.float64)
    except (ValueError, TypeError, KeyError, IndexError, tf.errors.OpError):
        return None
