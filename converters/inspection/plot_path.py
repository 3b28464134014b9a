"""What a plot needs, checked without Keras, before any work is done."""

import importlib.util
import pathlib

from converters.errors import ConversionError

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: str | pathlib.Path) -> None:
    """Raises a ConversionError for a plot that cannot be made, before any work is done."""
    if pathlib.Path(path).suffix.lower() not in SUFFIXES:
        raise ConversionError(f"The plot {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConversionError("A plot needs matplotlib, which is not installed: pip install 'mobilenets[plots]'.")
