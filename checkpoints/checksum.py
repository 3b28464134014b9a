"""The checksum that TensorFlow keeps of every variable."""

import sys

import google_crc32c
import numpy as np

from checkpoints.errors import CheckpointError


def mask(crc: int) -> int:
    """Mask a crc32c as LevelDB does, so that the checksum of bytes that hold checksums stays a good one.

    Source: ``crc32c::Mask`` in LevelDB's ``util/crc32c.h``, which TensorFlow's file formats took over.
    """
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc32c(array: np.ndarray) -> int:
    """Checksum of an array as the index of a TensorFlow checkpoint (V2 format) holds it.

    Args:
        array: A numeric array of any shape.

    Returns:
        The masked crc32c of the array's little-endian bytes in C order, an unsigned 32-bit integer.

    Raises:
        CheckpointError: The array holds strings or objects, whose bytes are no fixed thing.
    """
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise CheckpointError(f"A checksum needs an array of numbers, but this one holds {array.dtype}.")
    order = array.dtype.byteorder
    if order == ">" or (order == "=" and sys.byteorder == "big"):
        array = array.byteswap()
    return mask(google_crc32c.value(array.tobytes()))
