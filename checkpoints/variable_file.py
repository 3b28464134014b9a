"""`VariableFile`, the type of every opened source, and the check of variables that are to be written."""

import contextlib
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from checkpoints.errors import CheckpointError, reason
from checkpoints.inputs import allowance

# Names of NumPy's own dtypes that every machine supports: bool, integers, float16 to float64, complex.
NUMBERS = frozenset(np.dtype(code).name for code in "?bhiqBHIQefdFD")


class Spec(NamedTuple):
    """Shape and dtype of a variable, known before its values are read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Size of the values in memory; a Python integer, which a hostile shape cannot overflow."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def check_total(specs: Mapping[str, Spec], size: int, path: object) -> None:
    """Checks that the variables of a file together do not need far more memory than the file has bytes.

    Raises:
        CheckpointError: they need more than the `allowance`.
    """
    total = 0
    for name, spec in specs.items():
        total += spec.num_bytes
        if total > allowance(size):
            raise CheckpointError(
                f"{path} is refused: its variables up to {name} {spec.shape} take {total} bytes, more than "
                f"{allowance(size)}, the limit for a file of {size}."
            )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class VariableFile(Mapping[str, np.ndarray]):
    """The variables of a source by name, sorted by name; an array is read when it is accessed.

    Every access reads the array again and returns a new one. Use the file in a ``with`` block or `close` it; arrays
    that were read stay valid. The attributes never change; `dataclasses.replace` makes a copy with other ones.

    Attributes:
        path: the path as the user passed it, or the label of a mapping.
        format: "tensorflow checkpoint v2", "tensorflow checkpoint v1", "frozen graph", "hdf5", "safetensors",
            "hub module (TF1 format)", "hub module (TF2 SavedModel)", "SavedModel", "transformers" or "mapping".
        files: the files of the source: the archive, the index and all shards, or the one file; none of a mapping.
        specs: shape and dtype of every variable.
        checked: whether checksums in the source cover every name and value, which makes any damage an error.
            TensorFlow checkpoints, HDF5 and safetensors files of this package and everything in a gzip archive have
            them; frozen graphs and files of other programs have none. The V1 format checks each block alone: a block of
            another file with the same layout is not detected.
        image_size: height and width of the images that a hub module (each None for any) or a folder of transformers
            takes; None for other sources.
        copy: "ema" or "pristine" if the source holds these two checkpoints of one network: the one that was opened.
        resources: what `close` closes.

    Example:
        with checkpoints.open_variables("mobilenet_v1_0.25_128.tgz") as variables:
            print(variables.shapes["MobilenetV1/Conv2d_0/weights"])
            weights = variables["MobilenetV1/Conv2d_0/weights"]
    """

    path: str | os.PathLike[str]
    format: str
    files: tuple[Path, ...]
    specs: Mapping[str, Spec]
    _read: Callable[[str], np.ndarray]
    checked: bool
    image_size: tuple[int | None, int | None] | None = None
    copy: str | None = None
    resources: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    _closed: threading.Event = dataclasses.field(default_factory=threading.Event, init=False)

    @classmethod
    def from_arrays(cls, mapping: Mapping[str, ArrayLike], label: str = "The mapping") -> "VariableFile":
        """Returns arrays in memory as a source.

        Shapes and dtypes are determined once; an access returns a copy of the array.

        Args:
            mapping: arrays by name, or values that NumPy makes arrays of.
            label: the name of the source in messages.

        Raises:
            CheckpointError: a name is not a string or a value is not an array.

        Example:
            variables = checkpoints.VariableFile.from_arrays({"net/weights": np.zeros((3, 3, 3, 8), np.float32)})
        """
        specs = {}
        for name, value in mapping.items():
            if not isinstance(name, str):
                raise CheckpointError(f"{label} cannot be used: the name {name!r} is not a string.")
            try:
                array = np.asarray(value)
            except Exception as error:  # a value may be of any type
                raise CheckpointError(f"{label} cannot be used: {name} is not an array ({reason(error)}).") from error
            specs[name] = Spec(array.shape, array.dtype)
        return cls(label, "mapping", (), specs, lambda name: np.array(mapping[name]), checked=True)

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable."""
        return {name: self.specs[name].shape for name in sorted(self.specs)}

    @functools.cached_property
    def dtypes(self) -> dict[str, np.dtype]:
        """dtype of every variable."""
        return {name: self.specs[name].dtype for name in sorted(self.specs)}

    def renamed(
        self, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    ) -> "VariableFile":
        """Returns a view of some variables under other names, which also reads an array when it is accessed.

        The view is readable until it or this file is closed. Closing the view leaves this file open.

        Args:
            names: ``{name in the view: name in this file}``. Variables that it does not list are left out.
            shapes: ``{name in the view: shape}`` of those that the view has in another shape, with the same values.

        Raises:
            KeyError: this file has no variable of such a name.

        Example:
            averages = variables.renamed({"net/weights": "net/weights/ExponentialMovingAverage"})
        """
        names = dict(names)

        def read(name: str) -> np.ndarray:
            try:
                array = self._read_if_open(names[name])
                return array.reshape(shapes[name]) if name in shapes else array
            except CheckpointError:
                raise
            except Exception as error:
                raise ValueError(f"{reason(error)} (stored as {names[name]})") from error

        specs = {
            new: self.specs[old]._replace(shape=shapes.get(new, self.specs[old].shape)) for new, old in names.items()
        }
        return dataclasses.replace(self, specs=specs, _read=read, resources=contextlib.ExitStack())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.specs:
            raise KeyError(name)
        try:
            array = self._read_if_open(name)
        except CheckpointError:
            raise
        except Exception as error:  # readers raise nearly any type for a damaged file, by version and kind of damage
            raise CheckpointError(f"{name} in {self.path} is damaged or cut short: {reason(error)}.") from error
        if (array.shape, array.dtype) != self.specs[name]:
            raise CheckpointError(
                f"{name} in {self.path} is declared as {self.dtypes[name]} {self.shapes[name]} "
                f"but was read as {array.dtype} {array.shape}."
            )
        return array

    def _read_if_open(self, name: str) -> np.ndarray:
        if self._closed.is_set():
            raise CheckpointError(f"{self.path} is closed; {name} cannot be read.")
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.specs  # the method of Mapping would read the array

    def __repr__(self) -> str:
        return f"VariableFile({os.fspath(self.path)!r}, {self.format}, {len(self)} variables)"

    def __enter__(self) -> "VariableFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the source; arrays that were read stay valid."""
        self._closed.set()
        self.resources.close()


def storable(variables: Mapping[str, Any], dtypes: Collection[str], format: str) -> dict[str, np.ndarray]:
    """Returns variables as arrays that a file format can store, sorted by name.

    Args:
        variables: arrays by name, or values that NumPy makes arrays of.
        dtypes: names of the dtypes that the format can store.
        format: the name of the format in messages.

    Returns:
        Arrays in C order and native byte order with the same values, bit for bit.

    Raises:
        CheckpointError: there are no variables, or the format cannot store a name or a dtype.
    """
    if not variables:
        raise CheckpointError(f"A {format} needs at least one variable.")
    if unnamed := [name for name in variables if not _is_name(name)]:
        raise CheckpointError(f"A {format} cannot store a variable with the name {unnamed[0]!r}.")
    arrays = {name: np.asarray(variables[name], order="C") for name in sorted(variables)}
    for name, array in arrays.items():
        if array.dtype.name not in dtypes:
            raise CheckpointError(f"A {format} cannot store {name}, whose dtype is {array.dtype}.")
        if not array.dtype.isnative:
            arrays[name] = array.astype(array.dtype.newbyteorder("="))
    return arrays


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
