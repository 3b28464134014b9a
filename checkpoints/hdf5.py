"""Variables in HDF5, the portable form: one dataset per name, readable wherever HDF5 is.

HDF5 keeps no checksum of plain data, so each dataset carries one, and the root one of the list of them all.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import google_crc32c
import h5py
import numpy as np

from checkpoints.checksum import masked_crc32c
from checkpoints.errors import CheckpointError
from checkpoints.files import replacing
from checkpoints.storable import NUMBERS, storable
from checkpoints.trial import try_out
from checkpoints.variable_file import Spec, VariableFile, reason

MAGIC = b"\x89HDF\r\n\x1a\n"
FORMAT = "slim variables"
VERSION = 1
# The filters that every HDF5 library has; none of them makes more than 1032 bytes (deflate's limit) of one.
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
MAX_RATIO = 1032


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 does."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def open_hdf5(path: Path) -> VariableFile:
    """Open an HDF5 file: every dataset of numbers is a variable, under its path in the file.

    Raises:
        CheckpointError: The file is damaged, refers to something outside of it, claims more data than it can
            hold, or is a Keras ``.weights.h5``, which holds no names of variables.
    """
    try_out(path)
    return _open(path)


def read_through(path: str) -> None:
    """Do with a file all that is ever done when it is read: the trial, in a process that may crash of it."""
    with _open(Path(path)) as variables:
        for name in variables:
            with contextlib.suppress(CheckpointError):
                variables[name]


def _open(path: Path) -> VariableFile:
    with contextlib.ExitStack() as resources:
        try:
            file = resources.enter_context(h5py.File(path, "r"))
            datasets = dict(_datasets(file, path))
            specs = {name: Spec(data.shape, data.dtype.newbyteorder("=")) for name, data in datasets.items()}
            checked = _has_right_marks(file, datasets, path)
            for name, spec in specs.items():
                _check_storage(datasets[name], spec, name, path)
        except CheckpointError:
            raise
        except Exception as error:  # a damaged file makes h5py raise nearly any type
            raise CheckpointError(f"{path} is damaged: {reason(error)}.") from error
        return VariableFile(
            path, "hdf5", [path], specs, lambda name: _values(datasets[name]), resources.pop_all(), checked=checked
        )


def _values(data: h5py.Dataset) -> np.ndarray:
    array = np.asarray(data[()]).astype(data.dtype.newbyteorder("="), copy=False)
    crc = data.attrs.get("masked_crc32c")
    if crc is not None and crc != masked_crc32c(array):
        raise CheckpointError("its checksum does not match")
    return array


def save_hdf5(variables: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write variables as HDF5, whole or not at all; what exists there is replaced.

    Each name is the path of a dataset, so that ``/`` makes groups. The attribute ``masked_crc32c`` of a dataset is
    its checksum; the attributes ``format``, ``version`` and ``contents`` of the root tell what the file is.

    Args:
        variables: Arrays by name: booleans, integers, float16, float32, float64 and complex numbers.
        path: The file to write.

    Raises:
        CheckpointError: There are no variables, one has a name or dtype that HDF5 cannot hold, one name is the
            beginning of another (``a`` and ``a/b``), or the folder does not exist or cannot be written.
    """
    arrays = storable(variables, NUMBERS, "HDF5 file")
    for name in arrays:
        parts = name.split("/")
        if not set(parts).isdisjoint(("", ".")):
            raise CheckpointError(f"An HDF5 file cannot hold a variable with the name {name!r}.")
        for i in range(1, len(parts)):
            if (group := "/".join(parts[:i])) in arrays:
                raise CheckpointError(
                    f"An HDF5 file cannot hold both {group} and {name}, because {group} is a group then."
                )
    # From version 1.10 of its format on, HDF5 keeps checksums of all that describes the data.
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["masked_crc32c"] = np.uint32(masked_crc32c(array))
        file.attrs.update(
            {"format": FORMAT, "version": VERSION, "contents": _contents(dict(_datasets(file, Path(path))))}
        )


def _datasets(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of numbers by name. Every object has one name, or a small file could claim to be endless."""
    groups: list[h5py.Group] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for key in group:
            name = f"{group.name}/{key}".lstrip("/")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path} is refused, because {name} is a link to something else.")
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise CheckpointError(f"{path} is refused, because {name} is a second name of something else.")
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind not in "OS":
                if item.dtype.name not in NUMBERS:
                    raise CheckpointError(f"{path} is refused, because {name} holds {item.dtype}, which is no number.")
                yield name, item


def _contents(datasets: Mapping[str, h5py.Dataset]) -> np.uint32:
    """Checksum of names, dtypes, shapes and checksums of all variables."""
    lines = (
        f"{name} {data.dtype} {data.shape} {data.attrs['masked_crc32c']}\n" for name, data in sorted(datasets.items())
    )
    return np.uint32(google_crc32c.value("".join(lines).encode()))


def _has_right_marks(file: h5py.File, datasets: Mapping[str, h5py.Dataset], path: Path) -> bool:
    """Whether the file bears the marks of `save_hdf5`; wrong ones are an error.

    HDF5's own checksum (the filter fletcher32) is not counted: it covers bytes, but not how they are to be read.
    """
    if any(re.search(r"(^|/)vars/\d+$", name) for name in datasets):
        raise CheckpointError(
            f"{path} is a Keras .weights.h5, which numbers its weights by layer type and holds no names of variables."
        )
    if file.attrs.get("format") != FORMAT:
        return False  # a file from elsewhere
    if file.attrs["version"] != VERSION:
        raise CheckpointError(
            f"{path} is in version {file.attrs['version']} of its format, but only {VERSION} is known."
        )
    if file.attrs["contents"] != _contents(datasets):
        raise CheckpointError(f"{path} is damaged: the checksum of its list of variables does not match.")
    return True


def _check_storage(data: h5py.Dataset, spec: Spec, name: str, path: Path) -> None:
    """Check that what a dataset claims to hold can be in the file, before memory is taken for it."""
    plan = data.id.get_create_plist()
    if data.is_virtual or plan.get_external_count():
        raise CheckpointError(f"{path} is refused, because the values of {name} lie in another file.")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if not set(filters) <= FILTERS or len(set(filters)) < len(filters):
        raise CheckpointError(f"{path} is refused, because {name} is packed with a filter that is not read here.")
    stored = data.id.get_storage_size()
    chunk = Spec(data.chunks or (), spec.dtype).num_bytes
    if stored > path.stat().st_size or max(spec.num_bytes, chunk if stored else 0) > stored * (
        MAX_RATIO if filters else 1
    ):
        raise CheckpointError(f"{path} is damaged: {name} claims {spec.num_bytes} bytes, of which it stores {stored}.")
