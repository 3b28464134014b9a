"""Checks of an output before any work."""

from pathlib import Path

from checkpoints import staged
from converters.errors import ConversionError

__all__ = ["check_model_path", "check_output", "staged"]


def check_output(path: Path, force: bool) -> None:
    """Refuses an output whose folder is not there, or that exists and is not to be replaced, before any work."""
    if not path.parent.is_dir():
        raise ConversionError(f"The folder {path.parent} of the output {path.name} does not exist.")
    if path.exists() and not force:
        raise ConversionError(f"The output {path} exists; use --force (force=True) to replace it.")


def check_model_path(path: Path, force: bool) -> None:
    """As `check_output`, for a model: its name has to end in ``.keras``."""
    if path.suffix != ".keras":
        raise ConversionError(f"The output {path} must end in .keras.")
    check_output(path, force)
