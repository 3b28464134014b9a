"""The constants of a foreign graph: checked before TensorFlow, which may end the process over a bad one, sees them."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.node_def_pb2 import NodeDef

from converters.errors import ConversionError

_TYPES = "float16 bfloat16 float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool"
ITEM_BYTES = {tf.as_dtype(name).as_datatype_enum: tf.as_dtype(name).size for name in _TYPES.split()}
STRING, RESOURCE = tf.string.as_datatype_enum, tf.resource.as_datatype_enum

# Where a tensor's values are given one by one. Complex and quantized numbers, resources and variants are refused.
_FIELDS = ("half_val", "float_val", "double_val", "int_val", "int64_val", "bool_val", "string_val")
_MAX_RANK = 8


def check_constant(path: object, node: NodeDef) -> int:
    """Checks that a constant is what its node says.

    Returns:
        The bytes that its values take in memory.

    Raises:
        ConversionError: it is not.
    """
    tensor, dtype = attribute(node, "value").tensor, attribute(node, "dtype").type
    lengths = [dim.size for dim in tensor.tensor_shape.dim]
    damaged = f"{path} is damaged: its constant {shown(node.name)}"
    if tensor.dtype != dtype:
        raise ConversionError(f"{damaged} has dtype {tensor.dtype}, its node {dtype}.")
    if dtype not in ITEM_BYTES and dtype != STRING:
        raise ConversionError(f"{damaged} has dtype {dtype}, which is no type of numbers.")
    if tensor.tensor_shape.unknown_rank or len(lengths) > _MAX_RANK or min(lengths, default=0) < 0:
        raise ConversionError(f"{damaged} has the shape {lengths[:_MAX_RANK]}, which no constant has.")
    elements = math.prod(lengths)
    given = sum(len(getattr(tensor, field)) for field in _FIELDS)
    if given > elements or (tensor.tensor_content and given):
        raise ConversionError(f"{damaged} {tuple(lengths)} has {given} values more than its shape.")
    if dtype == STRING:
        if tensor.tensor_content or given != elements:
            raise ConversionError(f"{damaged} {tuple(lengths)} has {given} texts.")
        return sum(map(len, tensor.string_val)) + 32 * elements
    num_bytes = elements * ITEM_BYTES[dtype]
    if tensor.tensor_content and len(tensor.tensor_content) != num_bytes:
        raise ConversionError(
            f"{damaged} {tuple(lengths)} has {len(tensor.tensor_content)} bytes; its shape and dtype say {num_bytes}."
        )
    return num_bytes


def value_of(node: NodeDef) -> np.ndarray:
    """The value of a constant that `check_constant` accepts."""
    return tf.make_ndarray(attribute(node, "value").tensor)


def attribute(node: NodeDef, key: str) -> AttrValue:
    """An attribute of a node, or an empty one; asking the node itself for it would add it."""
    return node.attr[key] if key in node.attr else AttrValue()


def shown(name: str) -> str:
    """A name from a file, as it may stand in a message: short, on one line, without control characters."""
    text = "".join(character if character.isprintable() else "?" for character in name[:200])
    return text + "..." if len(name) > 200 else text
