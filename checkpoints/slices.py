"""Slices of a partitioned variable: where they are in it, and the keys of their values in a checkpoint."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from checkpoints.variable_file import Spec
from checkpoints.wire import Message


class Slice(NamedTuple):
    """A part of a variable.

    Attributes:
        key: its key in the checkpoint.
        region: where it is in the variable.
        shape: of the part.
    """

    key: bytes
    region: tuple[slice, ...]
    shape: tuple[int, ...]


def slice_of(name: str, shape: Sequence[int], proto: Message) -> Slice:
    """Returns a slice of a variable.

    Args:
        name: of the variable.
        shape: of the variable.
        proto: a ``TensorSliceProto``: start and length in each dimension; without a length: the whole dimension.

    Raises:
        ValueError: the slice is not in the variable.
    """
    extents = _extents(proto)
    if len(extents) != len(shape):
        raise ValueError(f"a slice has {len(extents)} dimensions instead of {len(shape)}")
    region = []
    for (start, length), size in zip(extents, shape, strict=True):
        if length == -1 and not start:
            region.append(slice(0, size))
            continue
        if start < 0 or length < 0 or start + length > size:
            raise ValueError(f"a slice from {start} of length {length} is not in a dimension of {size}")
        region.append(slice(start, start + length))
    return Slice(_key(name, extents), tuple(region), tuple(part.stop - part.start for part in region))


def key_of(name: str, proto: Message) -> bytes:
    """Returns the key of a slice of a variable; it need not be in the variable."""
    return _key(name, _extents(proto))


def whole(name: str, rank: int) -> bytes:
    """Returns the key of the slice that is the whole variable."""
    return _key(name, [(0, -1)] * rank)


def check_volume(parts: Sequence[Slice], shape: Sequence[int]) -> None:
    """Checks that slices have as many values as their variable.

    Raises:
        ValueError: they have fewer or more.
    """
    if (volume := sum(math.prod(part.shape) for part in parts)) != math.prod(shape):
        raise ValueError(f"its slices have {volume} values, but its shape has {math.prod(shape)}")


def joined(spec: Spec, parts: Sequence[Slice], read: Callable[[Slice], np.ndarray]) -> np.ndarray:
    """Returns a variable from its slices, whose volume `check_volume` accepts.

    Raises:
        ValueError: slices overlap, which leaves other values missing.
    """
    if len(parts) == 1 and parts[0].shape == spec.shape:
        return read(parts[0])
    array = np.empty(spec.shape, spec.dtype)
    covered = np.zeros(spec.shape, bool)
    for part in parts:
        values = read(part)  # first: memory that nothing is written to is not taken
        if covered[part.region].any():
            raise ValueError("its slices overlap")
        covered[part.region] = True
        array[part.region] = values
    return array


def _extents(proto: Message) -> list[tuple[int, int]]:
    return [(extent.start, extent.length if extent.has("length") else -1) for extent in proto.extent]


def _key(name: str, extents: Sequence[tuple[int, int]]) -> bytes:
    """Returns the key of a slice, in which the order of bytes is the order of names and slices.

    Source: ``EncodeTensorNameSlice`` in TensorFlow's ``core/util/saved_tensor_slice_util.cc``, and the formats of
    ``core/lib/strings/ordered_code.h``.
    """
    escaped = name.encode().replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff")
    rank = bytes([1, len(extents)]) if extents else b"\0"
    return b"\0" + escaped + b"\0\1" + rank + b"".join(_ordered(n) for extent in extents for n in extent)


def _ordered(number: int) -> bytes:
    """Returns a signed number in the shortest form, the number of whose leading bits is its length in bytes."""
    magnitude = ~number if number < 0 else number
    length = magnitude.bit_length() // 7 + 1
    header = ((1 << length) - 1) << (7 * length)
    data = int.from_bytes(number.to_bytes(10, "big", signed=True)[10 - length :], "big")
    return (data ^ header).to_bytes(length, "big")
