"""Opens any source of variables by its path."""

import contextlib
import contextvars
import dataclasses
import difflib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from checkpoints.archive import has_checksums, is_archive, unpack
from checkpoints.errors import CheckpointError, CheckpointNotFound, reason
from checkpoints.foreign import foreign_kind
from checkpoints.frozen_graph import is_graph, open_frozen_graph
from checkpoints.hdf5 import is_hdf5, open_hdf5
from checkpoints.hub_module import open_hub_module
from checkpoints.inputs import check_regular
from checkpoints.locate import (
    COPIES,
    checkpoints_in,
    copies_in,
    graph_named_saved_model,
    saved_model,
    state_file,
    the_checkpoint_in,
    v1_file,
    v2_prefix,
)
from checkpoints.object_checkpoint import open_checkpoint
from checkpoints.safetensors_file import is_safetensors, open_safetensors
from checkpoints.safetensors_shards import INDEX_SUFFIX, is_index, open_shards
from checkpoints.tensorflow_checkpoint import open_v1
from checkpoints.transformers_folder import (
    is_transformers_folder,
    open_transformers_folder,
    transformers_folders_in,
)
from checkpoints.variable_file import VariableFile


def load_variables(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every variable of a source into memory; `open_variables` lists the sources.

    Returns:
        Arrays by name, sorted by name.

    Example:
        variables = checkpoints.load_variables("mobilenet_v1_0.25_128.tgz")
        print(variables["MobilenetV1/Conv2d_0/weights"].shape)
    """
    with open_variables(path) as variables:
        return dict(variables)


def open_variables(path: str | os.PathLike[str] | Mapping[str, Any], *, pristine: bool = False) -> VariableFile:
    """Opens a source of variables; an array is read when it is accessed.

    Args:
        path: one of

            - a TensorFlow checkpoint in V2 or V1 format: its prefix, any of its files, its folder, or the state
              file ``checkpoint`` in that folder,
            - an archive (``.tgz``, ``.tar.gz``, ``.tar``, ``.zip``) with one source in it,
            - a frozen graph (``.pb``),
            - an HDF5 file with a dataset for each variable, or a safetensors file with a tensor for each, or the index
              of several of them (``.safetensors.index.json``),
            - the folder of a TF-Hub module or another SavedModel, or of MobileNet V1 or V2 in transformers; variables
              get their slim names,
            - arrays by name in memory, or an opened source, which stays open.
        pristine: which checkpoint to open if an archive or a folder has two of one network, in the folders ``ema``
            (averaged values under the names of the variables) and ``pristine`` (the trainer's own values).

    Returns:
        A read-only mapping from names to arrays, without variables of strings. Use it in a ``with`` block or close it.

    Raises:
        CheckpointNotFound: the path does not exist.
        CheckpointError: the source is damaged, incomplete, ambiguous, without variables, or of no known format.

    Example:
        with checkpoints.open_variables("mobilenet_v1_0.25_128.ckpt") as variables:
            print(variables.format, variables.shapes)
    """
    if isinstance(path, VariableFile):
        return path.renamed({name: name for name in path})
    if isinstance(path, Mapping):
        return VariableFile.from_arrays(path)
    variables = dataclasses.replace(_open(Path(path), pristine), path=path)
    if not variables:
        variables.close()
        raise CheckpointError(f"{path} holds no variables.")
    return variables


def _open(path: Path, pristine: bool = False) -> VariableFile:
    try:
        check_regular(path)
        for source in _SOURCES:
            if located := source.locate(path):
                return source.open(located, pristine)
        if not path.exists():
            raise CheckpointNotFound(
                f"{path} does not exist, neither as a file nor as the prefix of a checkpoint.{_similar(path)}"
            )
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty.")
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise CheckpointError(f"{path} cannot be read: {reason(error)}.") from error
    if kind := foreign_kind(path):
        raise CheckpointError(f"{path} {kind}")
    raise CheckpointError(
        f"{path} is not a file of variables: it is neither a TensorFlow checkpoint nor a frozen "
        "graph, an HDF5 file, a safetensors file or an archive of one."
        + (" If it is a checkpoint, as its name says, it is damaged." if ".ckpt" in path.name else "")
    )


def _similar(path: Path) -> str:
    """Names the file or the checkpoint in the same folder whose name is closest to a path that does not exist."""
    if not path.parent.is_dir():
        return ""
    names = {entry.name.removesuffix(".index") for entry in path.parent.iterdir()}
    close = difflib.get_close_matches(path.name, sorted(names), 1, 0.8)
    return f" Did you mean {close[0]}?" if close else ""


# Archive -> the folder that a block of `unpacked` keeps; each thread has its own.
_unpacked: contextvars.ContextVar[Mapping[Path, Path]] = contextvars.ContextVar(
    "_unpacked", default=MappingProxyType({})
)


@contextlib.contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Unpacks those members of an archive that can hold variables or graphs into a temporary folder.

    Within the block, `open_variables` and this function read the archive from that folder and do not unpack it again.

    Yields:
        The folder, which is removed after the block.

    Raises:
        CheckpointError: the archive is damaged or too large, or a member is refused.

    Example:
        with checkpoints.unpacked("mobilenet_v1_0.25_128.tgz") as folder:
            print(sorted(folder.rglob("*")))
    """
    before = _unpacked.get()
    with _folder_of(Path(path)) as folder:
        _unpacked.set({**before, Path(path).resolve(): folder})
        try:
            yield folder
        finally:
            _unpacked.set(before)


@contextlib.contextmanager
def _folder_of(archive: Path) -> Iterator[Path]:
    """Yields the folder that a block around this one unpacked the archive into, or a new one."""
    if (known := _unpacked.get().get(archive.resolve())) is not None:
        yield known
        return
    with tempfile.TemporaryDirectory(prefix="variables-") as folder:
        unpack(archive, Path(folder))
        yield Path(folder)


def _open_archive(path: Path, pristine: bool) -> VariableFile:
    with contextlib.ExitStack() as resources:
        folder = resources.enter_context(_folder_of(path))
        try:
            variables = resources.enter_context(_open(source_in(folder, path), pristine))
        except CheckpointError as error:
            # The temporary folder means nothing to the user.
            raise CheckpointError(str(error).replace(str(folder), str(path))) from error
        checked = variables.checked or has_checksums(path)
        return dataclasses.replace(variables, files=(path,), checked=checked, resources=resources.pop_all())


def source_in(folder: Path, archive: Path) -> Path:
    """Returns what to open in an unpacked archive: a SavedModel with variables, or else the first of other kinds.

    Of two checkpoints of one network, the folder above them is returned.
    """
    saved_models = sorted(file.parent for file in folder.rglob("saved_model.pb"))
    graphs = sorted(folder.rglob("*.pb"))
    states = [file.parent for file in sorted(folder.rglob("checkpoint")) if state_file(file)]
    kinds = (
        [path for path in saved_models if (path / "variables" / "variables.index").is_file()],
        [the_checkpoint_in(states[0])] if len(states) == 1 else checkpoints_in(folder, "**/*"),
        [graph for graph in graphs if graph.name != "saved_model.pb"],
        graphs,
        transformers_folders_in(folder),
        sorted([*folder.rglob("*.h5"), *folder.rglob("*.hdf5")]),
        sorted(folder.rglob(f"*{INDEX_SUFFIX}")),
        sorted(folder.rglob("*.safetensors")),
    )
    for paths in kinds:
        if len(paths) > 1:
            if len(paths) == len(COPIES) and copies_in(above := paths[0].parent.parent):
                return above
            names = ", ".join(str(path.relative_to(folder)) for path in paths)
            raise CheckpointError(f"{archive} holds {len(paths)} files of variables, but one is expected: {names}.")
        if paths:
            return paths[0]
    raise CheckpointError(f"{archive} is an archive without a checkpoint.")


def _open_folder(folder: Path, pristine: bool) -> VariableFile:
    copies = {} if checkpoints_in(folder) else copies_in(folder)
    if not copies:
        return _open(the_checkpoint_in(folder))
    copy = COPIES[pristine]
    return dataclasses.replace(_open(copies[copy]), copy=copy)


def _always(open_source: Callable[[Path], VariableFile]) -> Callable[[Path, bool], VariableFile]:
    """Returns the function for a kind of source that cannot have two checkpoints."""
    return lambda path, pristine: open_source(path)


def _if(condition: Callable[[Path], bool]) -> Callable[[Path], Path | None]:
    return lambda path: path if condition(path) else None


class _Source(NamedTuple):
    locate: Callable[[Path], Path | None]
    open: Callable[[Path, bool], VariableFile]


# The kinds of sources: the first that locates one under a path opens it.
_SOURCES = [
    _Source(saved_model, _always(open_hub_module)),
    _Source(graph_named_saved_model, _always(open_frozen_graph)),
    _Source(state_file, lambda file, pristine: _open(the_checkpoint_in(file.parent), pristine)),
    _Source(_if(is_transformers_folder), _always(open_transformers_folder)),
    _Source(_if(Path.is_dir), _open_folder),
    _Source(_if(is_archive), _open_archive),
    _Source(_if(is_hdf5), _always(open_hdf5)),
    _Source(_if(is_index), _always(open_shards)),
    _Source(_if(is_safetensors), _always(open_safetensors)),
    _Source(v2_prefix, _always(open_checkpoint)),
    _Source(v1_file, _always(open_v1)),
    _Source(_if(is_graph), _always(open_frozen_graph)),
]
