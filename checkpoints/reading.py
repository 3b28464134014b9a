"""Any path to its variables."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoints.archive import is_archive, is_gzip, unpack
from checkpoints.errors import CheckpointError, CheckpointNotFound
from checkpoints.frozen_graph import open_frozen_graph
from checkpoints.hdf5 import is_hdf5, open_hdf5
from checkpoints.hub_module import is_hub_module, open_hub_module
from checkpoints.locate import checkpoints_in, the_checkpoint_in, v1_file, v2_prefix
from checkpoints.tensorflow_checkpoint import open_v1, open_v2
from checkpoints.variable_file import VariableFile


def load_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read every variable of a source into memory; see `open_variables` for what a source is.

    Returns:
        Arrays by name, in the order of the names.
    """
    with open_variables(path) as variables:
        return dict(variables)


def open_variables(path: str | os.PathLike) -> VariableFile:
    """Open a source of variables; its arrays are read when they are asked for.

    Args:
        path: A TensorFlow checkpoint in V2 or V1 format, given as its prefix, as any of its files, or as the folder
            that holds it; an archive (``.tgz``, ``.tar.gz``, ``.tar``) with one in it, as published; a frozen graph
            (``.pb``); an HDF5 file with a dataset for each variable; or the folder of a TF-Hub module, whose
            variables bear their slim names. Variables of strings are left out.

    Returns:
        A read-only mapping from names to arrays. Use it in a ``with`` block, or `close` it.

    Raises:
        CheckpointNotFound: There is nothing under the path.
        CheckpointError: What is there is damaged, incomplete, ambiguous, without variables, or not a source.
    """
    variables = _open(Path(path))
    variables.path = path
    if not variables:
        variables.close()
        raise CheckpointError(f"{path} holds no variables.")
    return variables


def _open(path: Path) -> VariableFile:
    try:
        for source in _SOURCES:
            if source.recognises(path):
                return source.open(path)
        if not path.exists():
            raise CheckpointNotFound(f"{path} does not exist, neither as a file nor as the prefix of a checkpoint.")
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty.")
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    raise CheckpointError(
        f"{path} is not a file of variables, or is cut short: its bytes are none of "
        "a TensorFlow checkpoint, a frozen graph, HDF5 and an archive of them."
    )


@contextlib.contextmanager
def unpacked(path: str | os.PathLike) -> Iterator[Path]:
    """The members of an archive that can hold variables or graphs, in a folder that lives as long as the block.

    Raises:
        CheckpointError: The archive is damaged, too large, or has a member that is refused; see `open_variables`.
    """
    with tempfile.TemporaryDirectory(prefix="variables-") as folder:
        unpack(Path(path), Path(folder))
        yield Path(folder)


def _open_archive(path: Path) -> VariableFile:
    with contextlib.ExitStack() as resources:
        folder = resources.enter_context(unpacked(path))
        try:
            variables = _open(_the_source_in(folder, path))
        except CheckpointError as error:
            # The folder means nothing to the reader of the message.
            raise CheckpointError(str(error).replace(str(folder), str(path))) from error
        variables.files = [path]
        variables.checked |= is_gzip(path)
        variables.resources.callback(resources.pop_all().close)
        return variables


def _the_source_in(folder: Path, archive: Path) -> Path:
    """Return the hub module in an unpacked archive, or else the checkpoint, the frozen graph, the HDF5 file."""
    kinds = (
        sorted(file.parent for file in folder.rglob("saved_model.pb")),
        checkpoints_in(folder, "**/*"),
        sorted(folder.rglob("*.pb")),
        sorted([*folder.rglob("*.h5"), *folder.rglob("*.hdf5")]),
    )
    for found in kinds:
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in found)
            raise CheckpointError(f"{archive} holds {len(found)} files of variables, where one is expected: {names}.")
        if found:
            return found[0]
    raise CheckpointError(f"{archive} is an archive without a checkpoint.")


class _Source(NamedTuple):
    recognises: Callable[[Path], object]
    open: Callable[[Path], VariableFile]


# Each kind of path and what opens it; the first that recognises the path has it.
_SOURCES = [
    _Source(is_hub_module, open_hub_module),
    _Source(Path.is_dir, lambda path: _open(the_checkpoint_in(path))),
    _Source(is_archive, _open_archive),
    _Source(is_hdf5, open_hdf5),
    _Source(v2_prefix, lambda path: open_v2(v2_prefix(path))),
    _Source(v1_file, lambda path: open_v1(v1_file(path))),
    _Source(lambda path: path.suffix == ".pb" and path.is_file() and path.stat().st_size, open_frozen_graph),
]
