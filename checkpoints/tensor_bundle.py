"""Reads and writes checkpoints in V2 format ("tensor bundle"): an index, and data in shards.

The index is a table of entries: dtype, shape, shard, position, size and checksum of every variable. A partitioned
variable has an entry with the list of its slices, and each slice has its own entry.
Source: TensorFlow's ``core/util/tensor_bundle/tensor_bundle.cc`` and ``core/protobuf/tensor_bundle.proto``.
"""

import contextlib
import itertools
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from checkpoints import sstable
from checkpoints.checksum import mask, masked_crc32c
from checkpoints.dtypes import NOT_NUMERIC, NUMBERS_BY_NAME, STRING, require_numbers
from checkpoints.errors import CheckpointError, reason
from checkpoints.files import replacing
from checkpoints.slices import Slice, check_volume, joined, slice_of
from checkpoints.tensor_proto import spec
from checkpoints.variable_file import Spec, VariableFile
from checkpoints.wire import Message, WireError, parse, serialize, varint

LITTLE_ENDIAN = 0


def open_v2(prefix: Path) -> VariableFile:
    """Opens a checkpoint in V2 format: ``prefix.index`` and ``prefix.data-NNNNN-of-NNNNN``.

    Raises:
        CheckpointError: a file is missing, too short or damaged.
    """
    index = Path(f"{prefix}.index")
    if not index.is_file():
        raise CheckpointError(f"{index} is missing next to the data of its checkpoint.")
    header, entries = read_index(index)
    shards = _shards(prefix, header)
    _check_extents(entries, shards)
    specs: dict[str, Spec] = {}
    with decoding(index):
        # A key that begins with a zero byte is a slice of a partitioned variable; the variable has its own entry too.
        variables = {key.decode(): entry for key, entry in entries.items() if not key.startswith(b"\0")}
        for name, entry in variables.items():
            if entry.dtype not in NOT_NUMERIC:
                specs[name] = spec(entry.dtype, entry.shape)
    slices = {}
    for name in specs:
        slices[name] = _slices(index, name, specs[name], variables[name], entries, shards)

    def read(name: str) -> np.ndarray:
        require_numbers(name, prefix, specs[name].dtype)
        if not variables[name].slices:
            return _read(shards, variables[name], specs[name])
        return joined(
            specs[name],
            slices[name],
            lambda part: _read(shards, entries[part.key], Spec(part.shape, specs[name].dtype)),
        )

    return VariableFile(prefix, "tensorflow checkpoint v2", (index, *shards), specs, read, checked=True)


def read_index(index: Path) -> tuple[Message, dict[bytes, Message]]:
    """Returns the header and the entries of a V2 index: dtype, shape, position and masked crc32c of every variable.

    Raises:
        CheckpointError: the index is damaged or of another kind.
    """
    table = sstable.entries(index)
    with decoding(index):
        key, value = next(table, (None, b""))
        header = parse("BundleHeaderProto", value if key == b"" else b"")
    if header.num_shards < 1 or header.endianness != LITTLE_ENDIAN:
        what = f"{index} is not the index of a little-endian checkpoint in V2 format"
        if header.num_shards < 1:
            raise CheckpointError(f"{what}.")
        raise CheckpointError(
            f"{what}: a big-endian machine wrote it. Load it with TensorFlow on such a machine, and save its arrays as "
            "HDF5 (checkpoints.save_hdf5) or safetensors (checkpoints.save_safetensors)."
        )
    with decoding(index):
        return header, {key: parse("BundleEntryProto", value) for key, value in table}


def read_string(prefix: Path, key: str) -> bytes | None:
    """Returns an entry of a checkpoint that is one string, or None if no entry has this name.

    Raises:
        CheckpointError: the entry is no string, or damaged.
    """
    header, entries = read_index(Path(f"{prefix}.index"))
    entry = entries.get(key.encode())
    if entry is None:
        return None
    shards = _shards(prefix, header)
    _check_extents({key.encode(): entry}, shards)
    try:
        if entry.dtype != STRING or len(entry.shape.dim) or entry.slices:
            raise ValueError("it is no single text")
        return strings(_bytes(shards, entry), 1, entry.crc32c)[0]
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{key} in {prefix} is damaged or cut short: {reason(error)}.") from None


def strings(data: bytes, count: int, crc: int) -> list[bytes]:
    """Returns the texts of an entry.

    The lengths come first, with a checksum of their own, and then the texts. Both checksums are of the lengths as
    numbers of four bytes (eight for a longer text).

    Args:
        data: of the entry.
        count: how many texts there are.
        crc: the masked checksum in the entry.

    Raises:
        ValueError: the data are damaged.
    """
    if count > len(data):
        raise ValueError(f"{count} texts do not fit {len(data)} bytes")
    position, lengths = 0, []
    try:
        for _ in range(count):
            length, position = varint(data, position)
            lengths.append(length)
        (stored,) = struct.unpack_from("<I", data, position)
    except (IndexError, struct.error):
        raise ValueError("the lengths of its texts are cut short") from None
    covered = google_crc32c.value(b"".join(struct.pack("<I" if n < 2**32 else "<Q", n) for n in lengths))
    texts = data[position + 4 :]
    total = google_crc32c.extend(google_crc32c.extend(covered, data[position : position + 4]), texts)
    if mask(covered) != stored or mask(total) != crc:
        raise ValueError("its checksum does not match")
    if sum(lengths) != len(texts):
        raise ValueError("its texts do not have their lengths")
    values, start = [], 0
    for length in lengths:
        values.append(texts[start : start + length])
        start += length
    return values


def write_v2(arrays: Mapping[str, np.ndarray], prefix: Path) -> None:
    """Writes a checkpoint with one shard; `checkpoints.save_checkpoint` describes it."""
    items = [(b"", serialize("BundleHeaderProto", {"num_shards": 1, "version": {"producer": 1}}))]
    # The data are moved first: an index without its data never exists, and new data do not match an old index's crc.
    with replacing(f"{prefix}.index") as index, replacing(f"{prefix}.data-00000-of-00001") as data:
        offset = 0
        with open(data, "wb") as stream:
            for name in sorted(arrays, key=str.encode):
                array = arrays[name]
                entry = {
                    "dtype": NUMBERS_BY_NAME[array.dtype.name],
                    "shape": {"dim": [{"size": length} for length in array.shape]},
                    "offset": offset,
                    "size": array.nbytes,
                    "crc32c": masked_crc32c(array),
                }
                items.append((name.encode(), serialize("BundleEntryProto", entry)))
                stream.write(_little_endian(array).reshape(-1).view(np.uint8).data)
                offset += array.nbytes
        with open(index, "wb") as stream:
            sstable.write(stream, items)


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turns errors of decoding entries into one sentence about the file."""
    try:
        yield
    except (WireError, UnicodeDecodeError):
        raise CheckpointError(f"{path} is damaged: an entry of its table cannot be decoded.") from None


def _shards(prefix: Path, header: Message) -> list[Path]:
    shards = []
    for i in range(header.num_shards):
        shards.append(Path(f"{prefix}.data-{i:05d}-of-{header.num_shards:05d}"))
        if not shards[i].is_file():
            raise CheckpointError(f"{shards[i]} is missing next to {prefix.name}.index.")
    return shards


def _check_extents(entries: Mapping[bytes, Message], shards: Sequence[Path]) -> None:
    """Checks that the values of every entry are in a shard, and those of no two in the same place."""
    lengths = [shard.stat().st_size for shard in shards]
    extents = []
    for key, entry in entries.items():
        if not (0 <= entry.shard_id < len(shards) and entry.offset >= 0 and entry.size >= 0):
            raise CheckpointError(f"{shards[0]} does not match its index: {key!r} has no valid position in the data.")
        end, length = entry.offset + entry.size, lengths[entry.shard_id]
        if end > length:
            raise CheckpointError(
                f"{shards[entry.shard_id]} is cut short: its index refers to byte {end}, but it has {length} bytes."
            )
        if entry.size:
            extents.append((entry.shard_id, entry.offset, end, key))
    extents.sort()
    for (shard, _, end, key), (next_shard, start, _, next_key) in itertools.pairwise(extents):
        if shard == next_shard and start < end:
            raise CheckpointError(
                f"{shards[shard]} does not match its index: {key!r} and {next_key!r} have the same bytes."
            )


def _slices(
    index: Path, name: str, spec: Spec, entry: Message, entries: Mapping[bytes, Message], shards: Sequence[Path]
) -> list[Slice]:
    """Checks that a variable fits its entry, or its slices; returns these."""
    stored = sum(shard.stat().st_size for shard in shards) if entry.slices else entry.size
    if spec.num_bytes > stored if entry.slices else spec.num_bytes != stored:
        raise CheckpointError(f"{index} is damaged: {name} {spec.shape} does not fit its {entry.size} bytes.")
    try:
        parts = [slice_of(name, spec.shape, proto) for proto in entry.slices]
        if parts:
            check_volume(parts, spec.shape)
        for part in parts:
            own = entries.get(part.key)
            if own is None:
                raise ValueError("a slice has no entry")
            lengths = tuple(dim.size for dim in own.shape.dim)
            size = Spec(part.shape, spec.dtype).num_bytes
            if (own.dtype, lengths, own.size) != (entry.dtype, part.shape, size) or own.slices:
                raise ValueError("the entry of a slice does not fit it")
    except ValueError as error:
        raise CheckpointError(f"{index} is damaged: {name} {spec.shape} is refused ({reason(error)}).") from None
    return parts


def _read(shards: Sequence[Path], entry: Message, spec: Spec) -> np.ndarray:
    array = np.empty(spec.shape, spec.dtype)
    # Read into the array itself; a mapped file that another program cuts short would end this process.
    _fill(shards, entry, array.reshape(-1).view(np.uint8))
    return _little_endian(array)


def _fill(shards: Sequence[Path], entry: Message, data: np.ndarray) -> None:
    with open(shards[entry.shard_id], "rb", buffering=0) as stream:
        stream.seek(entry.offset)
        position = 0
        while position < len(data):
            count = stream.readinto(data[position:].data)
            if not count:
                raise ValueError("the data are cut short")
            position += count
    if mask(google_crc32c.value(data)) != entry.crc32c:
        raise ValueError("its checksum does not match")


def _bytes(shards: Sequence[Path], entry: Message) -> bytes:
    with open(shards[entry.shard_id], "rb") as stream:
        stream.seek(entry.offset)
        return stream.read(entry.size)


def _little_endian(array: np.ndarray) -> np.ndarray:
    """Changes between the machine's order of bytes and that of the file."""
    return array if sys.byteorder == "little" else array.byteswap()
