"""Values of a ``TensorProto``, the message of a tensor in graphs and in checkpoints of V1 format."""

import math

import numpy as np

from checkpoints.dtypes import DATA_TYPES, DataType
from checkpoints.messages import MESSAGES
from checkpoints.variable_file import Spec
from checkpoints.wire import Message, WireError

_VALUES = [name for name in MESSAGES["TensorProto"] if name.endswith("_val") or name == "tensor_content"]


def spec(dtype: int, shape: Message) -> Spec:
    """Returns shape and dtype of an array.

    Raises:
        WireError: the dtype is not known, or the shape is none of an array.
    """
    lengths = tuple(dim.size for dim in shape.dim)
    if shape.unknown_rank or len(lengths) > 32 or min(lengths, default=0) < 0 or dtype not in DATA_TYPES:
        raise WireError("no shape or dtype of an array")
    return Spec(lengths, DATA_TYPES[dtype].dtype)


def values_of(tensor: Message, data_type: DataType, shape: tuple[int, ...], filled: bool) -> np.ndarray:
    """Returns the values of a tensor as a new array.

    Args:
        tensor: a ``TensorProto``.
        data_type: of its values.
        shape: of its values.
        filled: whether the last value stands for all after it, and no value for zeros, as in a graph.

    Raises:
        ValueError: it has other values than its type and shape say.
    """
    dtype, field = data_type
    size = math.prod(shape)
    if {name for name in _VALUES if tensor.has(name)} - {field, "tensor_content"}:
        raise ValueError(f"it has values of another type than {dtype}")
    listed = _cast(getattr(tensor, field), dtype) if field and len(getattr(tensor, field)) else np.empty(0, dtype)
    if len(content := tensor.tensor_content):
        if len(listed) or len(content) != size * dtype.itemsize:
            raise ValueError(f"it has {len(content)} bytes, but {size * dtype.itemsize} are expected")
        return np.frombuffer(content, dtype).reshape(shape).copy()
    if len(listed) > size or (len(listed) < size and not filled):
        raise ValueError(f"it has {len(listed)} values, but {size} are expected")
    array = np.zeros(size, dtype)
    array[: len(listed)] = listed
    if len(listed):
        array[len(listed) :] = listed[-1]
    return array.reshape(shape)


def _cast(values: np.ndarray | memoryview, dtype: np.dtype) -> np.ndarray:
    """Returns values of a field as an array of the dtype, bit for bit."""
    array = np.frombuffer(values, np.uint8) if isinstance(values, memoryview) else values
    if dtype.kind == "c" or array.dtype == dtype or array.dtype == np.uint8:
        return array.view(dtype)  # pairs of floats, floats, bytes
    if dtype.name in ("float16", "bfloat16"):
        return _exactly(array, np.dtype(np.uint16)).view(dtype)
    return _exactly(array, dtype) if dtype.kind != "b" else array != 0


def _exactly(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    result = array.astype(dtype)
    if not np.array_equal(result.astype(array.dtype), array):
        raise ValueError(f"its values are not in the range of {dtype}")
    return result


def listed(array: np.ndarray) -> np.ndarray:
    """Returns values as the field of their type lists them, in one dimension."""
    array = array.reshape(-1)
    if array.dtype.kind == "c":
        return array.view(array.real.dtype)
    return array.view(np.uint16) if array.dtype.name in ("float16", "bfloat16") else array
