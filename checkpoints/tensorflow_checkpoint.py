"""Reads and writes TensorFlow checkpoints: V2 (an index and data shards) and V1 (a single file)."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

from checkpoints import sstable
from checkpoints.errors import CheckpointError, reason
from checkpoints.files import replacing
from checkpoints.variable_file import NUMBERS, Spec, VariableFile, storable

V1_DTYPES = frozenset(np.dtype(code).name for code in "?bhiqBfd")
V2_DTYPES = NUMBERS | {"bfloat16"}


def open_v2(prefix: Path) -> VariableFile:
    """Opens a checkpoint in V2 format: ``prefix.index`` and ``prefix.data-NNNNN-of-NNNNN``.

    Raises:
        CheckpointError: a file is missing, too short or damaged.
    """
    index = Path(f"{prefix}.index")
    if not index.is_file():
        raise CheckpointError(f"{index} is missing next to the data of its checkpoint.")
    header, entries = read_index(index)
    shards = []
    for i in range(header.num_shards):
        shards.append(Path(f"{prefix}.data-{i:05d}-of-{header.num_shards:05d}"))
        if not shards[i].is_file():
            raise CheckpointError(f"{shards[i]} is missing next to {index.name}.")
    _check_extents(entries, shards)
    with _decoding(index):
        # A key that begins with a zero byte is a slice of a partitioned variable; the variable has its own entry too.
        variables = {key.decode(): entry for key, entry in entries.items() if not key.startswith(b"\0")}
        specs = {name: _spec(entry.dtype, entry.shape) for name, entry in variables.items() if _is_numeric(entry.dtype)}
    for name, spec in specs.items():
        stored, sliced = variables[name].size, bool(variables[name].slices)
        if spec.num_bytes > sum(shard.stat().st_size for shard in shards) if sliced else spec.num_bytes != stored:
            raise CheckpointError(f"{index} is damaged: {name} {spec.shape} does not fit its {stored} bytes.")
    return _open(prefix, "tensorflow checkpoint v2", [index, *shards], specs)


def read_index(index: Path) -> tuple[BundleHeaderProto, dict[bytes, BundleEntryProto]]:
    """Returns the header and the entries of a V2 index: dtype, shape, position and masked crc32c of every variable."""
    table = sstable.entries(index)
    with _decoding(index):
        key, value = next(table, (None, b""))
        header = BundleHeaderProto.FromString(value)
        entries = {key: BundleEntryProto.FromString(value) for key, value in table}
    if key != b"" or header.num_shards < 1 or header.endianness != BundleHeaderProto.LITTLE:
        raise CheckpointError(f"{index} is not the index of a little-endian checkpoint in V2 format.")
    return header, entries


def open_v1(path: Path) -> VariableFile:
    """Opens a checkpoint in V1 format: a single file of any name.

    Raises:
        CheckpointError: the file is damaged, or one of several shards.
    """
    if re.search(r"-\d{5}-of-\d{5}$", path.name):
        raise CheckpointError(
            f"{path} is one shard of a V1 checkpoint; only V1 checkpoints in a single file are supported."
        )
    specs = {}
    with _decoding(path):
        key, value = next(sstable.entries(path), (None, b""))
        for variable in SavedTensorSlices.FromString(value).meta.tensor:
            if _is_numeric(variable.type):
                specs[variable.name] = _spec(variable.type, variable.shape)
    if key != b"":
        raise CheckpointError(f"{path} is not a checkpoint in V1 format: its first entry is not the list of variables.")
    for name, spec in specs.items():
        # The smallest value in this format is a small int64, in one byte.
        if spec.num_bytes > 8 * path.stat().st_size:
            raise CheckpointError(f"{path} is damaged: {name} {spec.shape} does not fit a file of this size.")
    return _open(path, "tensorflow checkpoint v1", [path], specs)


def save_checkpoint(variables: Mapping[str, np.ndarray], prefix: str | os.PathLike[str], version: int = 2) -> None:
    """Writes variables as a TensorFlow checkpoint, whole or not at all; an existing one is replaced.

    Args:
        variables: arrays by name. V2 format stores booleans, integers, float16, bfloat16, float32, float64 and
            complex numbers; V1 format only booleans, int8 to int64, uint8, float32 and float64.
        prefix: V2: ``prefix.index`` and ``prefix.data-00000-of-00001`` are written. V1: the path of the file.
        version: the format, 1 or 2.

    Raises:
        CheckpointError: there are no variables, the format cannot store a name or a dtype, or the folder does not
            exist or is not writable.

    Example:
        checkpoints.save_checkpoint(converters.slim_variables(model), "model.ckpt")
    """
    if version not in _WRITERS:
        raise CheckpointError(f"A checkpoint has format version 1 or 2, not {version!r}.")
    dtypes, write = _WRITERS[version]
    write(storable(variables, dtypes, f"checkpoint in V{version} format"), Path(prefix).absolute())


def _write_v1(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    _refuse_twin(path, Path(f"{path}.index"))
    with replacing(path) as file:
        _run(
            arrays, lambda names, tensors: tf.raw_ops.Save(filename=os.fsencode(file), tensor_names=names, data=tensors)
        )


def _write_v2(arrays: Mapping[str, np.ndarray], prefix: Path) -> None:
    _refuse_twin(prefix, prefix)
    shard = ".data-00000-of-00001"
    # The data are moved first: an index without its data never exists, and new data do not match an old index's crc.
    with (
        replacing(f"{prefix}.index") as index,
        replacing(f"{prefix}{shard}") as data,
        tempfile.TemporaryDirectory(dir=prefix.parent, prefix=".") as folder,
    ):
        staged = f"{folder}/variables"
        whole = [""] * len(arrays)
        _run(
            arrays,
            lambda names, tensors: tf.raw_ops.SaveV2(
                prefix=os.fsencode(staged), tensor_names=names, shape_and_slices=whole, tensors=tensors
            ),
        )
        os.replace(f"{staged}{shard}", data)
        os.replace(f"{staged}.index", index)


def _refuse_twin(prefix: Path, twin: Path) -> None:
    """Refuses a path that would name two checkpoints, one of each format."""
    if twin.is_file():
        raise CheckpointError(f"{prefix} cannot be written, because {twin} exists, a checkpoint in the other format.")


def _run(arrays: Mapping[str, np.ndarray], save: Callable[[list[str], list[tf.Tensor]], tf.Operation]) -> None:
    """Runs an operation that saves, in its own graph, which works in eager and in graph mode."""
    without_gpu = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.compat.v1.Session(config=without_gpu) as session:
        tensors = [tf.compat.v1.placeholder(array.dtype, array.shape) for array in arrays.values()]
        try:
            session.run(save(list(arrays), tensors), dict(zip(tensors, arrays.values(), strict=True)))
        except tf.errors.OpError as error:
            raise CheckpointError(f"The checkpoint could not be written: {reason(error)}.") from error


_WRITERS = {1: (V1_DTYPES, _write_v1), 2: (V2_DTYPES, _write_v2)}


def _open(prefix: Path, format: str, files: list[Path], specs: dict[str, Spec]) -> VariableFile:
    with contextlib.ExitStack() as resources:
        try:
            reader = tf.compat.v1.train.NewCheckpointReader(_literal(prefix, files, resources))
        except Exception as error:  # TensorFlow's readers raise many types
            raise CheckpointError(f"{prefix} cannot be read: {reason(error)}.") from error
        return VariableFile(
            prefix,
            format,
            tuple(files),
            specs,
            lambda name: np.asarray(reader.get_tensor(name)),  # scalars are NumPy scalars
            checked=True,
            resources=resources.pop_all(),
        )


def read_string(prefix: Path, files: Sequence[Path], key: str) -> bytes | None:
    """Returns an entry of type string of a checkpoint, or None if no entry has this name."""
    with contextlib.ExitStack() as resources:
        reader = tf.compat.v1.train.NewCheckpointReader(_literal(prefix, files, resources))
        return reader.get_tensor(key) if reader.has_tensor(key) else None


def _literal(prefix: Path, files: Sequence[Path], resources: contextlib.ExitStack) -> bytes:
    """Returns a path of the checkpoint that TensorFlow reads literally.

    TensorFlow treats a path as a pattern, and prefers ``x.index`` to a V1 file ``x``. Links in a temporary folder
    avoid both.
    """
    path = prefix.absolute().as_posix()
    if not set(path) & set("*?[\\") and (len(files) > 1 or not Path(f"{path}.index").exists()):
        return os.fsencode(path)
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
    for file in files:
        (folder / f"variables{file.name[len(prefix.name) :]}").symlink_to(file.absolute())
    return os.fsencode(folder / "variables")


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except (DecodeError, UnicodeDecodeError, TypeError, OverflowError):
        raise CheckpointError(f"{path} is damaged: an entry of its table cannot be decoded.") from None


def _check_extents(entries: Mapping[bytes, BundleEntryProto], shards: list[Path]) -> None:
    lengths = [shard.stat().st_size for shard in shards]
    for key, entry in entries.items():
        if not (0 <= entry.shard_id < len(shards) and entry.offset >= 0 and entry.size >= 0):
            raise CheckpointError(f"{shards[0]} does not match its index: {key!r} has no valid position in the data.")
        end, length = entry.offset + entry.size, lengths[entry.shard_id]
        if end > length:
            raise CheckpointError(
                f"{shards[entry.shard_id]} is cut short: its index refers to byte {end}, but it has {length} bytes."
            )


def _is_numeric(dtype: int) -> bool:
    return tf.as_dtype(dtype).base_dtype not in (tf.string, tf.variant, tf.resource)


def _spec(dtype: int, shape: TensorShapeProto) -> Spec:
    lengths = tuple(dim.size for dim in shape.dim)
    if shape.unknown_rank or len(lengths) > 32 or min(lengths, default=0) < 0:
        raise TypeError("no shape of an array")
    return Spec(lengths, np.dtype(tf.as_dtype(dtype).base_dtype.as_numpy_dtype))
