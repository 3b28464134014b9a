"""The checksum of a variable in TensorFlow's checkpoints."""

import sys

import google_crc32c
import numpy as np

from checkpoints.errors import CheckpointError


def mask(crc: int) -> int:
    """Masks a crc32c as LevelDB does, because a plain crc32c of bytes that contain a crc32c is unreliable.

    Source: ``crc32c::Mask`` in LevelDB's ``util/crc32c.h``, which TensorFlow's file formats use too.
    """
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc32c(array: np.ndarray) -> int:
    """Returns the checksum of an array that the index of a TensorFlow checkpoint (V2 format) has.

    Args:
        array: a numeric array of any shape.

    Returns:
        The masked crc32c of the array's little-endian bytes in C order, an unsigned 32-bit integer.

    Raises:
        CheckpointError: the array holds strings or objects, whose bytes are not defined.

    Example:
        crc = checkpoints.masked_crc32c(np.zeros(3, np.float32))
    """
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise CheckpointError(f"A checksum needs an array of numbers, but this one holds {array.dtype}.")
    order = array.dtype.byteorder
    if order == ">" or (order == "=" and sys.byteorder == "big"):
        array = array.byteswap()
    return mask(google_crc32c.value(array.tobytes()))
