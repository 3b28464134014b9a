"""Checks of an output before any work."""

import os
from pathlib import Path

from checkpoints import check_name, staged
from converters.errors import ConversionError

__all__ = ["check_output", "staged"]


def check_output(path: Path, force: bool) -> None:
    """Refuses an output whose folder does not exist, or that exists and must not be replaced, before any work."""
    check_name(path)
    if not path.parent.is_dir():
        raise ConversionError(f"The folder {path.parent} of the output {path.name} does not exist.")
    # A link whose target is missing exists too.
    if os.path.lexists(path) and not force:
        raise ConversionError(f"The output {path} exists; use --force (force=True) to replace it.")
