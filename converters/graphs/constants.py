"""Attributes and constants of a foreign graph: checked before TensorFlow, which may crash on bad ones, sees them."""

import math
from typing import TYPE_CHECKING

import numpy as np

from checkpoints.dtypes import DATA_TYPES, NUMBERS_BY_NAME, STRING
from checkpoints.tensor_proto import values_of
from checkpoints.wire import Message
from converters.errors import ConversionError
from converters.graphs.plain_nodes import PlainNode
from converters.text import brief

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.node_def_pb2 import NodeDef

__all__ = ["ITEM_BYTES", "RESOURCE", "STRING", "attribute", "check_constant", "value_of"]

_TYPES = "float16 bfloat16 float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool"
ITEM_BYTES = {NUMBERS_BY_NAME[name]: DATA_TYPES[NUMBERS_BY_NAME[name]].dtype.itemsize for name in _TYPES.split()}
RESOURCE = 20

# Where a tensor's values are given one by one. Complex and quantized numbers, resources and variants are refused.
_FIELDS = ("half_val", "float_val", "double_val", "int_val", "int64_val", "bool_val", "string_val")
_MAX_RANK = 8


def check_constant(path: object, node: "NodeDef | PlainNode") -> int:
    """Checks that a constant is what its node says.

    Returns:
        The bytes that its values take in memory.

    Raises:
        ConversionError: it is not.
    """
    tensor, dtype = attribute(node, "value").tensor, attribute(node, "dtype").type
    lengths = [dim.size for dim in tensor.tensor_shape.dim]
    damaged = f"{path} is damaged: its constant {brief(node.name)}"
    if tensor.dtype != dtype:
        raise ConversionError(f"{damaged} has dtype {tensor.dtype}, its node {dtype}.")
    if dtype not in ITEM_BYTES and dtype != STRING:
        raise ConversionError(f"{damaged} has dtype {dtype}, which is no type of numbers.")
    if tensor.tensor_shape.unknown_rank or len(lengths) > _MAX_RANK or min(lengths, default=0) < 0:
        raise ConversionError(f"{damaged} has the shape {lengths[:_MAX_RANK]}, which no constant has.")
    elements = math.prod(lengths)
    count = sum(len(getattr(tensor, field)) for field in _FIELDS)
    if count > elements or (tensor.tensor_content and count):
        raise ConversionError(f"{damaged} {tuple(lengths)} has {count} values more than its shape.")
    if dtype == STRING:
        if tensor.tensor_content or count != elements:
            raise ConversionError(f"{damaged} {tuple(lengths)} has {count} texts.")
        return sum(map(len, tensor.string_val)) + 32 * elements
    num_bytes = elements * ITEM_BYTES[dtype]
    if tensor.tensor_content and len(tensor.tensor_content) != num_bytes:
        raise ConversionError(
            f"{damaged} {tuple(lengths)} has {len(tensor.tensor_content)} bytes; its shape and dtype say {num_bytes}."
        )
    return num_bytes


def value_of(node: "NodeDef | PlainNode") -> np.ndarray:
    """Returns the value of a constant that `check_constant` accepts."""
    tensor = attribute(node, "value").tensor
    if isinstance(tensor, Message):
        shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
        return values_of(tensor, DATA_TYPES[tensor.dtype], shape, filled=True)
    import tensorflow as tf

    return tf.make_ndarray(tensor)


def attribute(node: "NodeDef | PlainNode", key: str) -> "AttrValue | Message":
    """Returns an attribute of a node, or an empty one; asking the node itself for it would add it."""
    if key in node.attr:
        return node.attr[key]
    if isinstance(node, PlainNode):
        return Message("AttrValue", {})
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    return AttrValue()
