"""Variables in safetensors: one tensor per name.

The format has no checksums. Files of this package have one for each variable in the metadata, and one for the list of
variables.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import safetensors
import safetensors.numpy

from checkpoints.checksum import masked_crc32c
from checkpoints.errors import CheckpointError, reason
from checkpoints.files import replacing
from checkpoints.variable_file import Spec, VariableFile, storable

FORMAT = "slim variables"
VERSION = "1"
SUFFIX = ".safetensors"
# The format's names of dtypes. NumPy has no bfloat16 and no 8-bit floats.
DTYPES = {
    "BOOL": "bool",
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
# The limit of the format's own library for the header, which is JSON.
LARGEST_HEADER = 100_000_000


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like one of safetensors (the size of a header, then ``{``), or is named like one."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        start = stream.read(9)
    begins = start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= LARGEST_HEADER
    return begins or (path.suffix == SUFFIX and bool(start))


def open_safetensors(path: Path) -> VariableFile:
    """Opens a file of safetensors: every tensor is a variable.

    The library checks that the tensors fill the file exactly, so no tensor can claim more bytes than the file has.

    Raises:
        CheckpointError: the file is damaged, or has a dtype that NumPy lacks.
    """
    with contextlib.ExitStack() as resources:
        try:
            file = resources.enter_context(safetensors.safe_open(path, framework="numpy"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
            kinds = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = file.metadata() or {}
        except Exception as error:  # the library has an error type of its own, and raises others
            raise CheckpointError(f"{path} is damaged or cut short: {reason(error)}.") from error
        for name, (dtype, _) in kinds.items():
            if dtype not in DTYPES:
                raise CheckpointError(f"{path} is refused, because {name} has the dtype {dtype}.")
        specs = {name: Spec(shape, np.dtype(DTYPES[dtype])) for name, (dtype, shape) in kinds.items()}
        checksums = _checksums(metadata, specs, path)

        def read(name: str) -> np.ndarray:
            array = file.get_tensor(name)
            if checksums is not None and checksums[name] != masked_crc32c(array):
                raise ValueError("its checksum does not match")
            return array

        return VariableFile(
            path,
            "safetensors",
            (path,),
            specs,
            read,
            checked=checksums is not None,
            resources=resources.pop_all(),
        )


def save_safetensors(variables: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes variables as safetensors, whole or not at all; an existing file is replaced.

    The metadata has ``format``, ``version``, ``masked_crc32c`` (a JSON object: the checksum of each variable) and
    ``contents``, a checksum of the list of variables.

    Args:
        variables: arrays by name: booleans, integers, float16, float32 and float64.
        path: the file to write.

    Raises:
        CheckpointError: there are no variables, the format cannot store a name or a dtype, or the folder does not
            exist or is not writable.

    Example:
        checkpoints.save_safetensors(converters.slim_variables(model), "variables.safetensors")
    """
    arrays = storable(variables, DTYPES.values(), "safetensors file")
    if "__metadata__" in arrays:
        raise CheckpointError("A safetensors file cannot store a variable with the name '__metadata__'.")
    checksums = {name: masked_crc32c(array) for name, array in arrays.items()}
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "masked_crc32c": json.dumps(checksums),
        "contents": _contents(specs, checksums),
    }
    with replacing(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata)


def _contents(specs: Mapping[str, Spec], checksums: Mapping[str, int]) -> str:
    """Returns a checksum of the names, dtypes, shapes and checksums of all variables."""
    lines = (f"{name} {spec.dtype} {spec.shape} {checksums[name]}\n" for name, spec in sorted(specs.items()))
    return str(google_crc32c.value("".join(lines).encode()))


def _checksums(metadata: Mapping[str, str], specs: Mapping[str, Spec], path: Path) -> dict[str, int] | None:
    """Returns the checksums in the metadata; None if another program wrote the file."""
    # Damage may rename an entry, and then the file must not pass for one without checksums.
    if metadata.get("format") != FORMAT and not {"masked_crc32c", "contents"} & metadata.keys():
        return None
    if metadata.get("version", VERSION) != VERSION:
        raise CheckpointError(
            f"{path} has version {metadata['version']} of its format, but only {VERSION} is supported."
        )
    try:
        checksums: Any = json.loads(metadata["masked_crc32c"])
        listed = checksums.keys() == specs.keys() and metadata["contents"] == _contents(specs, checksums)
        intact = listed and (metadata["format"], metadata["version"]) == (FORMAT, VERSION)
    except (ValueError, KeyError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise CheckpointError(f"{path} is damaged: the checksum of its list of variables does not match.")
    return checksums
