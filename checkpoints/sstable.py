"""Reads and writes the table of keys and values in both checkpoint formats of TensorFlow (LevelDB's "sstable").

The checksum of every block that is read is verified.
Source: LevelDB's ``doc/table_format.md``; TensorFlow's ``core/lib/io/format.cc`` is the same without filters.
"""

import bisect
import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from checkpoints import snappy
from checkpoints.checksum import mask
from checkpoints.errors import CheckpointError, reason
from checkpoints.wire import WireError, to_varint, varint

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48  # two block handles, padding to 40 bytes, the magic number
TRAILER = 5  # of a block: its compression in one byte, then its masked crc32c
SNAPPY = 1
BLOCK_BYTES = 1 << 12  # after which a new block begins
_INCONSISTENT = (IndexError, struct.error, WireError)


def is_table(path: Path) -> bool:
    """Returns whether a file ends with the magic number of an sstable; False if it does not exist."""
    if not path.is_file() or path.stat().st_size < FOOTER:
        return False
    with open(path, "rb") as stream:
        stream.seek(-len(MAGIC), 2)
        return stream.read() == MAGIC


def entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table in order, block by block.

    Raises:
        CheckpointError: a block is damaged, or the table is inconsistent.
    """
    table = Table(path)
    last_key: bytes | None = None
    with table.opened() as stream:
        for offset, size in table.handles:
            for key, value in table.block(stream, offset, size):
                if last_key is not None and key <= last_key:
                    raise _inconsistent(path)
                last_key = key
                yield key, value


class Replaced(CheckpointError):
    """The file was written again while it was read."""


class Table:
    """The blocks of a table, in which values are looked up by key.

    Args:
        path: the file.

    Attributes:
        path: the file.
        handles: offset and size of every block.

    Raises:
        CheckpointError: the file is no table, or the index of its blocks is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.handles: list[tuple[int, int]] = []
        self._keys: list[bytes] = []
        with open(path, "rb") as stream:
            self._version = _version(stream)
            end = stream.seek(0, 2) - FOOTER
            if end < 0:
                raise CheckpointError(f"{path} is damaged: {end + FOOTER} bytes are too few for a table of entries.")
            stream.seek(end)
            footer = stream.read(FOOTER)
            if not footer.endswith(MAGIC):
                raise CheckpointError(f"{path} is damaged: it does not end like a table of entries.")
            try:
                *_, position = _handle(footer, 0)
                offset, size, _ = _handle(footer, position)
                _check(offset + size + TRAILER <= end)
                last_end = 0
                for key, handle in self.block(stream, offset, size):
                    offset, size, _ = _handle(handle, 0)
                    # Blocks are in order; otherwise a small file could list one block a million times.
                    _check(last_end <= offset and offset + size + TRAILER <= end)
                    last_end = offset + size + TRAILER
                    self.handles.append((offset, size))
                    self._keys.append(key)
            except _INCONSISTENT:
                raise _inconsistent(path) from None

    def get(self, key: bytes) -> bytes | None:
        """Returns the value of a key, or None if the table does not have it.

        Raises:
            CheckpointError: the block of the key is damaged.
        """
        # The index has a key for each block that is not before the last of the block.
        if (number := bisect.bisect_left(self._keys, key)) == len(self._keys):
            return None
        with self.opened() as stream:
            return next((value for each, value in self.block(stream, *self.handles[number]) if each == key), None)

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Opens the file again.

        Raises:
            Replaced: it is another file now: its blocks may be in the same places, with other values.
        """
        with open(self.path, "rb") as stream:
            if _version(stream) != self._version:
                raise Replaced(f"{self.path} was replaced or changed while it was read; read it again.")
            yield stream

    def block(self, stream: BinaryIO, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        """Yields the keys and values of a block."""
        try:
            yield from _block(_read(stream, self.path, offset, size))
        except _INCONSISTENT:
            raise _inconsistent(self.path) from None


def _version(stream: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _inconsistent(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: its table of entries is inconsistent.")


def write(stream: BinaryIO, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Writes a table.

    Args:
        stream: an empty file.
        items: keys and values, in the order of the keys.
    """
    handles = []
    pending, key, position = bytearray(), b"", 0

    def seal(block: bytes | bytearray) -> bytes:
        """Writes a block and returns its handle."""
        nonlocal position
        end = struct.pack("<II", 0, 1)  # one position to begin reading at: the first
        crc = google_crc32c.extend(google_crc32c.value(np.frombuffer(block, np.uint8)), end + b"\0")
        stream.write(block)  # may be large, and is therefore not copied
        stream.write(end + b"\0" + struct.pack("<I", mask(crc)))
        start, size = position, len(block) + len(end)
        position += size + TRAILER
        return to_varint(start) + to_varint(size)

    for key, value in items:
        pending += _item(key, value)
        if len(pending) >= BLOCK_BYTES:
            handles.append(_item(key, seal(pending)))
            pending = bytearray()
    if pending:
        handles.append(_item(key, seal(pending)))
    footer = seal(b"") + seal(b"".join(handles))
    stream.write(footer.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC)


def _item(key: bytes, value: bytes) -> bytes:
    return b"".join((b"\0", to_varint(len(key)), to_varint(len(value)), key, value))


def _read(stream: BinaryIO, path: Path, offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size + TRAILER)
    compression, crc = struct.unpack("<BI", data[size:])
    if mask(google_crc32c.value(data[: size + 1])) != crc:
        raise CheckpointError(f"{path} is damaged: the checksum of its block at byte {offset} does not match.")
    if not compression:
        return data[:size]
    if compression != SNAPPY:
        raise CheckpointError(f"{path} has a compressed block of the unknown kind {compression} at byte {offset}.")
    try:
        return snappy.decompress(data[:size])
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: its compressed block at byte {offset} is not valid ({reason(error)})."
        ) from None


def _block(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields keys and values; a key is stored without the prefix that it shares with the one before."""
    (restarts,) = struct.unpack("<I", data[-4:])
    end = len(data) - 4 * (restarts + 1)
    _check(end >= 0)
    key, position = b"", 0
    while position < end:
        shared, position = varint(data, position)
        unshared, position = varint(data, position)
        length, position = varint(data, position)
        _check(shared <= len(key) and position + unshared + length <= end)
        key = key[:shared] + data[position : position + unshared]
        position += unshared
        yield key, data[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Returns offset and size of a block, and the position after them."""
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return offset, size, position


def _check(holds: bool) -> None:
    if not holds:
        raise IndexError
