"""Reads the table of keys and values in both checkpoint formats of TensorFlow (LevelDB's "sstable").

TensorFlow reads the variables, but it silently ends a damaged table early, and aborts the process if it cannot decode
an entry. This module therefore reads the table first and verifies the checksum of every block.
Source: LevelDB's ``doc/table_format.md``; TensorFlow's ``core/lib/io/format.cc`` is the same without filters.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from checkpoints.checksum import mask
from checkpoints.errors import CheckpointError

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48  # two block handles, padding to 40 bytes, the magic number
TRAILER = 5  # of a block: its compression in one byte, then its masked crc32c


def is_table(path: Path) -> bool:
    """Whether a file ends with the magic number of an sstable; False if it does not exist."""
    if not path.is_file() or path.stat().st_size < FOOTER:
        return False
    with open(path, "rb") as stream:
        stream.seek(-len(MAGIC), 2)
        return stream.read() == MAGIC


def entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table in order, block by block.

    Raises:
        CheckpointError: a block is damaged or compressed, or the table is inconsistent.
    """
    try:
        yield from _entries(path)
    except (IndexError, struct.error):
        raise CheckpointError(f"{path} is damaged: its table of entries is inconsistent.") from None


def _entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with open(path, "rb") as stream:
        end = stream.seek(0, 2) - FOOTER
        if end < 0:
            raise CheckpointError(f"{path} is damaged: {end + FOOTER} bytes are too few for a table of entries.")
        stream.seek(end)
        footer = stream.read(FOOTER)
        if not footer.endswith(MAGIC):
            raise CheckpointError(f"{path} is damaged: it does not end like a table of entries.")
        *_, position = _handle(footer, 0)
        offset, size, _ = _handle(footer, position)
        _check(offset + size + TRAILER <= end)
        last_key: bytes | None = None
        last_end = 0
        for _, handle in _block(_read(stream, path, offset, size)):
            offset, size, _ = _handle(handle, 0)
            # Blocks are in order; otherwise a small file could list one block a million times.
            _check(last_end <= offset and offset + size + TRAILER <= end)
            last_end = offset + size + TRAILER
            for key, value in _block(_read(stream, path, offset, size)):
                _check(last_key is None or key > last_key)
                last_key = key
                yield key, value


def _read(stream: BinaryIO, path: Path, offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size + TRAILER)
    compression, crc = struct.unpack("<BI", data[size:])
    if mask(google_crc32c.value(data[: size + 1])) != crc:
        raise CheckpointError(f"{path} is damaged: the checksum of its block at byte {offset} does not match.")
    if compression:
        raise CheckpointError(f"{path} has a compressed block, which TensorFlow never writes in a checkpoint.")
    return data[:size]


def _block(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields keys and values; a key is stored without the prefix that it shares with the one before."""
    (restarts,) = struct.unpack("<I", data[-4:])
    end = len(data) - 4 * (restarts + 1)
    _check(end >= 0)
    key, position = b"", 0
    while position < end:
        shared, position = _varint(data, position)
        unshared, position = _varint(data, position)
        length, position = _varint(data, position)
        _check(shared <= len(key) and position + unshared + length <= end)
        key = key[:shared] + data[position : position + unshared]
        position += unshared
        yield key, data[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Returns offset and size of a block, and the position after them."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return offset, size, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError


def _check(holds: bool) -> None:
    if not holds:
        raise IndexError
