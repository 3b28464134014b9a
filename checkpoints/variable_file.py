"""The one type that every opened source has."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoints.errors import CheckpointError


class Spec(NamedTuple):
    """Shape and dtype of a variable, known before its values are read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Size of the values in memory; a Python integer, so that a hostile shape cannot overflow it."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def reason(error: Exception) -> str:
    """Return the first line of an error's message, to be put into a sentence."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")


class VariableFile(Mapping[str, np.ndarray]):
    """The variables of a file by name, in the order of their names; each is read when it is asked for.

    Every access reads anew and returns an array that belongs to the caller. Leaving the ``with`` block, or
    `close`, gives back what the source holds open.

    Attributes:
        path: The path as the user gave it.
        format: "tensorflow checkpoint v2", "tensorflow checkpoint v1", "frozen graph", "hdf5",
            "hub module (TF1 format)" or "hub module (TF2 SavedModel)".
        files: The files that make up the source: the archive, the index and all shards, or the one file.
        checked: Whether checksums in the source cover every name and value, so that damage is an error. TensorFlow
            checkpoints (V1 format block by block, so that a whole block of another file with the same layout goes
            unseen), HDF5 that this package wrote, and all that is in a gzip archive have them; frozen graphs and
            HDF5 from elsewhere do not.
        shapes: Shape of every variable.
        dtypes: dtype of every variable.
        image_size: Height and width of the images that a hub module takes, None for any; None elsewhere.
        resources: What is closed with the file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        format: str,
        files: list[Path],
        specs: Mapping[str, Spec],
        read: Callable[[str], np.ndarray],
        resources: contextlib.ExitStack,
        *,
        checked: bool,
    ):
        self.path = path
        self.format = format
        self.files = files
        self.checked = checked
        self.shapes: dict[str, tuple[int, ...]] = {name: specs[name].shape for name in sorted(specs)}
        self.dtypes: dict[str, np.dtype] = {name: specs[name].dtype for name in sorted(specs)}
        self.image_size: tuple[int | None, int | None] | None = None
        self._read = read
        self.resources = resources

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.shapes:
            raise KeyError(name)
        if self._read is None:
            raise CheckpointError(f"{self.path} is closed, so that {name} cannot be read.")
        try:
            array = self._read(name)
        except Exception as error:  # readers of damaged files raise nearly any type, by version and kind of damage
            raise CheckpointError(f"{name} in {self.path} is damaged or cut short: {reason(error)}.") from error
        if array.shape != self.shapes[name] or array.dtype != self.dtypes[name]:
            raise CheckpointError(
                f"{name} in {self.path} was announced as {self.dtypes[name]} {self.shapes[name]} "
                f"but read as {array.dtype} {array.shape}."
            )
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes  # Mapping's own answer would read the array

    def __repr__(self) -> str:
        return f"VariableFile({os.fspath(self.path)!r}, {self.format}, {len(self)} variables)"

    def __enter__(self) -> "VariableFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the source; what was read stays valid."""
        self._read = None
        self.resources.close()
