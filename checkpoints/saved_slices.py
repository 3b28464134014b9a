"""Reads and writes checkpoints in V1 format ("saved slices"): one table, or one for each shard.

The first entry of a table lists name, shape, dtype and slices of its variables; the others have the values of one slice
each. A partitioned variable may have slices in several shards.
Source: TensorFlow's ``core/util/saved_tensor_slice.proto`` and ``tensor_slice_writer.cc``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoints import snappy, sstable
from checkpoints.dtypes import DATA_TYPES, NOT_NUMERIC, NUMBERS_BY_NAME, require_numbers
from checkpoints.errors import CheckpointError, reason
from checkpoints.files import replacing
from checkpoints.slices import Slice, check_volume, joined, key_of, slice_of, whole
from checkpoints.tensor_bundle import decoding
from checkpoints.tensor_proto import listed, spec, values_of
from checkpoints.variable_file import Spec, VariableFile, check_total
from checkpoints.wire import Message, parse, serialize

SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
MAX_MESSAGE = 2**31 - 1  # bytes of a message of protocol buffers


class _Variable(NamedTuple):
    data_type: int
    spec: Spec
    parts: list[tuple[sstable.Table, Message]]  # the shard and the ``TensorSliceProto`` of every slice


def open_v1(path: Path) -> VariableFile:
    """Opens a checkpoint in V1 format: a single file of any name, or all shards next to the one of this name.

    Raises:
        CheckpointError: a file is damaged, or a shard is missing.
    """
    files = shards_of(path)
    variables: dict[str, _Variable] = {}
    for file in files:
        _add(variables, file)
    size = sum(file.stat().st_size for file in files)
    for name, variable in variables.items():
        # The smallest value in this format is a small int64, in one byte, and the block may be compressed.
        if variable.spec.num_bytes > 8 * snappy.MAX_RATIO * size:
            raise CheckpointError(f"{path} is damaged: {name} {variable.spec.shape} does not fit a file of this size.")
    check_total({name: variable.spec for name, variable in variables.items()}, size, path)

    def read(name: str) -> np.ndarray:
        data_type, spec, protos = variables[name]
        require_numbers(name, path, spec.dtype)
        tables, parts = {}, []
        for table, proto in protos:
            parts.append(slice_of(name, spec.shape, proto))
            tables[parts[-1].key] = table
        check_volume(parts, spec.shape)
        return joined(spec, parts, lambda part: _values(tables[part.key], name, data_type, part))

    specs = {name: variable.spec for name, variable in variables.items()}
    return VariableFile(path, "tensorflow checkpoint v1", tuple(files), specs, read, checked=True)


def shards_of(path: Path) -> list[Path]:
    """Returns the files of a V1 checkpoint: the file itself, or all shards if its name is that of one.

    Raises:
        CheckpointError: a shard is missing.
    """
    member = SHARD.fullmatch(path.name)
    if not member:
        return [path]
    files = []
    for i in range(int(member[3])):
        files.append(path.with_name(f"{member[1]}-{i:05d}-of-{member[3]}"))
        if not sstable.is_table(files[i]):
            raise CheckpointError(
                f"{path} is one shard of a V1 checkpoint; {files[i].name} is missing next to it or damaged."
            )
    return files or [path]


def write_v1(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a checkpoint in one file; `checkpoints.save_checkpoint` describes it."""
    variables = {}
    for name in sorted(arrays, key=str.encode):
        variables[whole(name, arrays[name].ndim)] = name
    meta = {"tensor": [_meta(name, arrays[name]) for name in variables.values()], "versions": {"producer": 1}}
    with replacing(path) as file, open(file, "wb") as stream:
        first = [(b"", serialize("SavedTensorSlices", {"meta": meta}))]
        rest = ((key, _data(variables[key], arrays[variables[key]])) for key in sorted(variables))
        sstable.write(stream, (item for items in (first, rest) for item in items))


def _meta(name: str, array: np.ndarray) -> dict:
    return {
        "name": name,
        "shape": {"dim": [{"size": length} for length in array.shape]},
        "type": NUMBERS_BY_NAME[array.dtype.name],
        "slice": [_all_of(array)],
    }


def _data(name: str, array: np.ndarray) -> bytes:
    field = DATA_TYPES[NUMBERS_BY_NAME[array.dtype.name]].field
    values = {field: listed(array)} if array.size else {}
    value = serialize("SavedTensorSlices", {"data": {"name": name, "slice": _all_of(array), "data": values}})
    if len(value) > MAX_MESSAGE:
        raise CheckpointError(f"A checkpoint in V1 format cannot store {name}, which has {array.nbytes} bytes.")
    return value


def _all_of(array: np.ndarray) -> dict:
    return {"extent": [{}] * array.ndim}


def _add(variables: dict[str, _Variable], file: Path) -> None:
    """Adds the variables and slices in one file."""
    with decoding(file):
        key, value = next(sstable.entries(file), (None, b""))
        listed = parse("SavedTensorSlices", value).meta.tensor
        if key != b"":
            raise CheckpointError(
                f"{file} is not a checkpoint in V1 format: its first entry is not the list of variables."
            )
        table = sstable.Table(file)
        for one in listed:
            if one.type in NOT_NUMERIC:
                continue
            variable = _Variable(one.type, spec(one.type, one.shape), [])
            known = variables.setdefault(one.name, variable)
            if known.data_type != variable.data_type or known.spec != variable.spec:
                raise CheckpointError(f"{file} is damaged: {one.name} has two dtypes or shapes.")
            known.parts.extend((table, proto) for proto in one.slice)


def _values(table: sstable.Table, name: str, data_type: int, part: Slice) -> np.ndarray:
    try:
        value = table.get(part.key)
    except sstable.Replaced:
        raise
    except CheckpointError as error:
        raise ValueError(reason(error)) from error
    if value is None:
        raise ValueError("its values are missing")
    data = parse("SavedTensorSlices", value).data
    if data.name != name or key_of(name, data.slice) != part.key:
        raise ValueError("its entry has the values of another variable")
    return values_of(data.data, DATA_TYPES[data_type], part.shape, filled=False)
