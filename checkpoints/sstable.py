"""The table of keys and values under both checkpoint formats of TensorFlow (LevelDB's "sstable").

TensorFlow reads the variables; but it ends a damaged table early without a word, and aborts the process on an
entry it does not understand. So the table is walked here first, with the checksum of every block.
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
FOOTER = 48  # two block handles, zeros up to 40 bytes, the magic number
TRAILER = 5  # of a block: its compression in one byte, then its masked crc32c


def is_table(path: Path) -> bool:
    """Whether the file ends as every sstable does; a missing file does not."""
    if not path.is_file() or path.stat().st_size < FOOTER:
        return False
    with open(path, "rb") as stream:
        stream.seek(-len(MAGIC), 2)
        return stream.read() == MAGIC


def entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a table in order, a block at a time.

    Raises:
        CheckpointError: A block is damaged or compressed, or the table does not hang together.
    """
    try:
        yield from _entries(path)
    except (IndexError, struct.error):
        raise CheckpointError(f"{path} is damaged: its table of entries does not hang together.") from None


def _entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with open(path, "rb") as stream:
        end = stream.seek(0, 2) - FOOTER
        if end < 0:
            raise CheckpointError(f"{path} is damaged: {end + FOOTER} bytes are too few for a table of entries.")
        stream.seek(end)
        footer = stream.read(FOOTER)
        if not footer.endswith(MAGIC):
            raise CheckpointError(f"{path} is damaged: it does not end as a table of entries does.")
        *_, position = _handle(footer, 0)
        offset, size, _ = _handle(footer, position)
        _check(offset + size + TRAILER <= end)
        last_key, last_end = None, 0
        for _, handle in _block(_read(stream, path, offset, size)):
            offset, size, _ = _handle(handle, 0)
            # Blocks follow one another; without this a small file could name one block a million times.
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
        raise CheckpointError(f"{path} holds a compressed block, as no checkpoint that TensorFlow writes does.")
    return data[:size]


def _block(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; a key shares its beginning with the one before it."""
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
    """Read offset and size of a block; the third value is the position after them."""
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
