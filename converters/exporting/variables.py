"""The weights of a model as a file of slim variables in safetensors, read again before it gets its name."""

import dataclasses
import functools
import os
from pathlib import Path

import keras

import checkpoints
from converters.errors import ConversionError
from converters.exporting.exports import ExportMismatch
from converters.staging import check_output, staged
from converters.weights import slim_variables

SUFFIX = ".safetensors"


@dataclasses.dataclass(frozen=True)
class VariablesExport:
    """A written file of variables.

    Attributes:
        path: the file.
        format: "safetensors".
        variables: how many it has; all were read again and equal those of the model bit for bit.
        size: bytes of the file.
    """

    path: Path
    format: str
    variables: int
    size: int

    def facts(self) -> dict:
        """Returns the attributes as JSON values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}

    def __str__(self) -> str:
        return (
            f"{self.path} ({self.size / 1e6:.1f} MB) was read again: its {self.variables} variables equal those of the "
            "model bit for bit."
        )


def check_variables_path(path: Path, force: bool) -> None:
    """Refuses a path that cannot be or must not be written, before any work is done."""
    if path.suffix != SUFFIX:
        raise ConversionError(f"The output {path} must end in {SUFFIX}.")
    check_output(path, force)
    if path.is_dir():
        raise ConversionError(f"The output {path} exists and is not a file; it will not be replaced.")


def export_variables(model: keras.Model, path: str | os.PathLike[str], force: bool = False) -> VariablesExport:
    """Writes the weights of a model as ``{slim name: array}`` in safetensors, with a checksum for each.

    Args:
        model: a network of this project.
        path: the ``.safetensors`` file.
        force: whether an existing file is replaced.

    Raises:
        ConversionError: the model has other weights, or the path is not usable.
        ExportMismatch: the written file has other values; it does not get its name.
    """
    path = Path(path)
    check_variables_path(path, force)
    variables = slim_variables(model)
    with staged(path, functools.partial(check_variables_path, path, force)) as unfinished:
        checkpoints.save_safetensors(variables, unfinished)
        written = checkpoints.load_variables(unfinished)
        different = sorted(
            name
            for name in {*variables, *written}
            if name not in written or name not in variables or written[name].tobytes() != variables[name].tobytes()
        )
        if different:
            raise ExportMismatch(f"{path} was not written: {len(different)} variables differ, {different[0]} first.")
        return VariablesExport(path, "safetensors", len(written), unfinished.stat().st_size)
