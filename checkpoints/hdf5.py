"""Variables in HDF5: one dataset per name.

HDF5 has no checksums of plain data. Files of this package have one for each dataset, and one for the list of datasets.
"""

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import google_crc32c
import h5py
import numpy as np

from checkpoints.checksum import masked_crc32c
from checkpoints.errors import CheckpointError, reason
from checkpoints.files import replacing
from checkpoints.hdf5_process import copy_in_process
from checkpoints.variable_file import NUMBERS, Spec, VariableFile, check_total, storable

MAGIC = b"\x89HDF\r\n\x1a\n"
FORMAT = "slim variables"
VERSION = 1
# The filters of every HDF5 library. None expands a byte to more than 1032 bytes (the limit of deflate).
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
MAX_RATIO = 1032
LISTING, VALUES = "variables.json", "values"
MAX_OBJECTS = 5000  # each takes up to half a millisecond; the largest network with its slots has some thousand


def is_hdf5(path: Path) -> bool:
    """Returns whether a file begins with the signature of HDF5."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def open_hdf5(path: Path) -> VariableFile:
    """Opens an HDF5 file: every dataset of numbers is a variable, whose name is its path in the file.

    Raises:
        CheckpointError: the file is damaged, refers to another file, claims more data than it can store, or is a
            Keras ``.weights.h5``, which has no names of variables.
    """
    with contextlib.ExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="mobilenets-"))
        copy_in_process(path, folder)
        try:
            listing = json.loads(Path(folder, LISTING).read_text(encoding="ascii"))
            error, entries, checked = (listing[key] for key in ("error", "variables", "checked"))
            specs = {name: Spec(tuple(entry["shape"]), np.dtype(entry["dtype"])) for name, entry in entries.items()}
        except (OSError, ValueError, LookupError, TypeError) as wrong:
            raise CheckpointError(f"{path} is damaged: the HDF5 library fails when it reads the file.") from wrong
        if error:
            raise CheckpointError(error)

        def read(name: str) -> np.ndarray:
            if entries[name]["error"]:
                raise CheckpointError(entries[name]["error"])
            spec, start = specs[name], entries[name]["start"]
            values = np.fromfile(Path(folder, VALUES), spec.dtype, math.prod(spec.shape), offset=start)
            return values.reshape(spec.shape)

        return VariableFile(path, "hdf5", (path,), specs, read, checked=checked, resources=resources.pop_all())


def copy_values(path: str, folder: str) -> None:
    """Writes the values of a file and a list of them into a folder; `checkpoints.hdf5_process` runs it."""
    listing: dict = {"error": None, "checked": False, "variables": {}}
    try:
        with _open(Path(path)) as variables, open(Path(folder, VALUES), "wb") as values:
            listing["checked"] = variables.checked
            for name, spec in variables.specs.items():
                entry = {"dtype": spec.dtype.name, "shape": spec.shape, "start": values.tell(), "error": None}
                try:
                    values.write(variables[name].tobytes())
                except CheckpointError as error:
                    entry["error"] = str(error)
                listing["variables"][name] = entry
    except CheckpointError as error:
        listing["error"] = str(error)
    Path(folder, LISTING).write_text(json.dumps(listing), encoding="ascii")


def _open(path: Path) -> VariableFile:
    with contextlib.ExitStack() as resources:
        try:
            file = resources.enter_context(h5py.File(path, "r"))
            datasets = dict(_datasets(file, path))
            specs = {name: Spec(data.shape, data.dtype.newbyteorder("=")) for name, data in datasets.items()}
            checked = _has_valid_marks(file, datasets, path)
            for name, spec in specs.items():
                _check_storage(datasets[name], spec, name, path)
            check_total(specs, path.stat().st_size, path)
        except CheckpointError:
            raise
        except Exception as error:  # h5py raises nearly any type for a damaged file
            raise CheckpointError(f"{path} is damaged: {reason(error)}.") from error
        return VariableFile(
            path,
            "hdf5",
            (path,),
            specs,
            lambda name: _values(datasets[name]),
            checked=checked,
            resources=resources.pop_all(),
        )


def _values(data: h5py.Dataset) -> np.ndarray:
    array = np.asarray(data[()]).astype(data.dtype.newbyteorder("="), copy=False)
    crc = data.attrs.get("masked_crc32c")
    if crc is not None and crc != masked_crc32c(array):
        raise ValueError("its checksum does not match")
    return array


def save_hdf5(variables: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes variables as HDF5, whole or not at all; an existing file is replaced.

    The name of a variable is the path of its dataset; ``/`` separates groups. The attribute ``masked_crc32c`` of a
    dataset is its checksum. The root has the attributes ``format``, ``version`` and ``contents``, a checksum of the
    list of variables.

    Args:
        variables: arrays by name: booleans, integers, float16, float32, float64 and complex numbers.
        path: the file to write.

    Raises:
        CheckpointError: there are no variables, HDF5 cannot store a name or a dtype, one name is the path of a group
            in another (``a`` and ``a/b``), or the folder does not exist or is not writable.

    Example:
        checkpoints.save_hdf5(converters.slim_variables(model), "variables.h5")
    """
    arrays = storable(variables, NUMBERS, "HDF5 file")
    for name in arrays:
        parts = name.split("/")
        if not set(parts).isdisjoint(("", ".")):
            raise CheckpointError(f"An HDF5 file cannot store a variable with the name {name!r}.")
        for i in range(1, len(parts)):
            if (group := "/".join(parts[:i])) in arrays:
                raise CheckpointError(
                    f"An HDF5 file cannot store both {group} and {name}, because {group} would also be a group."
                )
    # Since version 1.10 of its format HDF5 has checksums of all metadata.
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["masked_crc32c"] = np.uint32(masked_crc32c(array))
        file.attrs.update(
            {"format": FORMAT, "version": VERSION, "contents": _contents(dict(_datasets(file, Path(path))))}
        )


def _datasets(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the datasets of numbers by name.

    An object with a second name is refused: a group that contains itself would make a small file endless.
    """
    groups: list[h5py.Group] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for key in group:
            name = f"{group.name}/{key}".lstrip("/")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path} is refused, because {name} is a link to another object.")
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise CheckpointError(f"{path} is refused, because {name} is a second name of another object.")
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise CheckpointError(f"{path} is refused, because it has more than {MAX_OBJECTS} groups and datasets.")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind not in "OS":
                if item.dtype.name not in NUMBERS:
                    raise CheckpointError(f"{path} is refused, because {name} has the dtype {item.dtype}.")
                yield name, item


def _contents(datasets: Mapping[str, h5py.Dataset]) -> np.uint32:
    """Returns a checksum of the names, dtypes, shapes and checksums of all variables."""
    lines = (
        f"{name} {data.dtype} {data.shape} {data.attrs['masked_crc32c']}\n" for name, data in sorted(datasets.items())
    )
    return np.uint32(google_crc32c.value("".join(lines).encode()))


def _has_valid_marks(file: h5py.File, datasets: Mapping[str, h5py.Dataset], path: Path) -> bool:
    """Returns whether the file has the attributes that `save_hdf5` writes; an error if they do not match the content.

    HDF5's own checksum (the filter fletcher32) does not count: it covers the bytes but not their dtype and shape.
    """
    if any(re.search(r"(^|/)vars/\d+$", name) for name in datasets):
        raise CheckpointError(
            f"{path} is a Keras .weights.h5, which numbers its weights by layer type and has no names of variables."
        )
    if file.attrs.get("format") != FORMAT:
        return False  # another program wrote the file
    if file.attrs["version"] != VERSION:
        raise CheckpointError(
            f"{path} has version {file.attrs['version']} of its format, but only {VERSION} is supported."
        )
    if file.attrs["contents"] != _contents(datasets):
        raise CheckpointError(f"{path} is damaged: the checksum of its list of variables does not match.")
    return True


def _check_storage(data: h5py.Dataset, spec: Spec, name: str, path: Path) -> None:
    """Checks that the file can store the values of a dataset, before memory is allocated for them."""
    plan = data.id.get_create_plist()
    if data.is_virtual or plan.get_external_count():
        raise CheckpointError(f"{path} is refused, because the values of {name} are in another file.")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if not set(filters) <= FILTERS or len(set(filters)) < len(filters):
        raise CheckpointError(f"{path} is refused, because {name} uses an unsupported filter.")
    stored = data.id.get_storage_size()
    chunk = Spec(data.chunks or (), spec.dtype).num_bytes
    if stored > path.stat().st_size or max(spec.num_bytes, chunk if stored else 0) > stored * (
        MAX_RATIO if filters else 1
    ):
        raise CheckpointError(f"{path} is damaged: {name} claims {spec.num_bytes} bytes but stores {stored}.")
