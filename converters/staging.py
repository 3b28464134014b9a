"""Outputs that may be folders or several files: made apart, moved into place when they are whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from converters.errors import ConversionError


def check_output(path: Path, force: bool) -> None:
    """Refuses an output whose folder is not there, or that exists and is not to be replaced, before any work."""
    if not path.parent.is_dir():
        raise ConversionError(f"The folder {path.parent} of the output {path.name} does not exist.")
    if path.exists() and not force:
        raise ConversionError(f"The output {path} exists; say --force (force=True) to replace it.")


def check_model_path(path: Path, force: bool) -> None:
    """As `check_output`, for a model: its name has to end in ``.keras``."""
    if path.suffix != ".keras":
        raise ConversionError(f"The output {path} must end in .keras.")
    check_output(path, force)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own; what is there in the end is moved to beside ``path``.

    What is there already is replaced. After an exception it is as it was, and what was made is gone.
    """
    with tempfile.TemporaryDirectory(prefix=".", suffix=f"-{path.name}", dir=path.parent) as folder:
        yield Path(folder) / path.name
        # By name: OpenVINO's weights (.bin) come before the graph (.xml) that reads them.
        for made in sorted(Path(folder).iterdir()):
            final = path.with_name(made.name)
            if final.is_dir():
                # A folder cannot be replaced in one step: the old one goes with the temporary folder.
                os.replace(final, Path(folder) / ".replaced")
            os.replace(made, final)
