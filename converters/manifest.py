"""The manifest beside a ``.keras`` file: where the weights came from, and a checksum for each.

A Keras weights file stores arrays by layer type and counter, not by name: arrays of equal shape that trade places
load without complaint. The manifest pins every slim variable by its checksum, so loading against it finds that.
"""

import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Mapping

import keras
import numpy as np

import checkpoints
from converters.assignment import describe, slim_variables
from converters.conversion import Conversion
from converters.errors import ConversionError
from converters.staging import check_model_path

FORMAT = "mobilenets manifest"
FORMAT_VERSION = 1


def manifest_path(model_path: str | pathlib.Path) -> pathlib.Path:
    """``model.keras`` -> ``model.manifest.json``."""
    return pathlib.Path(model_path).with_suffix(".manifest.json")


def fingerprints(variables: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """``{slim name: {"shape", "dtype", "masked_crc32c"}}``, the checksum as TensorFlow's checkpoint index has it."""
    return {
        name: {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "masked_crc32c": f"0x{checkpoints.masked_crc32c(array):08x}",
        }
        for name, array in sorted(variables.items())
    }


def manifest_of(conversion: Conversion) -> dict:
    """The manifest of a conversion, as JSON values."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_with": {name: importlib.metadata.version(name) for name in ("keras", "tensorflow", "numpy")},
        "source": {
            "path": conversion.source,
            "format": conversion.source_format,
            "files": {
                path.name: {"sha256": checkpoints.sha256(path), "bytes": path.stat().st_size}
                for path in conversion.source_files
            },
        },
        "configuration": dict(conversion.configuration),
        "averaged_variables": conversion.averaged,
        "set_aside": dict(conversion.set_aside),
        "notes": list(conversion.notes),
        "variables": fingerprints(slim_variables(conversion.model)),
    }


def save_model(
    conversion: Conversion,
    path: str | pathlib.Path,
    force: bool = False,
    check: Callable[[pathlib.Path], None] = lambda file: None,
) -> dict:
    """Writes the model and its manifest, whole or not at all.

    The manifest is moved into place first: a ``.keras`` file is never there without the manifest that it came with.

    Args:
        conversion: what `converters.conversion_of` returned.
        path: the ``.keras`` file.
        force: whether an existing file is replaced.
        check: called with the written model before it and its manifest get their names; where it raises, they do not.

    Returns:
        The manifest.

    Raises:
        ConversionError: the file exists, or its name does not end in ``.keras``.
        OSError: the folder does not exist or cannot be written.
    """
    path = pathlib.Path(path)
    check_model_path(path, force)
    manifest = manifest_of(conversion)
    with checkpoints.replacing(path) as model_file:
        conversion.model.save(model_file)
        check(model_file)
        with checkpoints.replacing(manifest_path(path)) as manifest_file:
            pathlib.Path(manifest_file).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def read_manifest(path: str | pathlib.Path) -> dict:
    """Reads a manifest.

    Raises:
        ConversionError: the file is no manifest, or one of a later format.
        OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    try:
        manifest = json.loads(path.read_text())
        known = manifest["format"] == FORMAT and manifest["format_version"] == FORMAT_VERSION
        checksums = {name: entry["masked_crc32c"] for name, entry in manifest["variables"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    if not known or not checksums:
        raise ConversionError(f"{path} is not a manifest of format version {FORMAT_VERSION}, as convert writes it.")
    return manifest


def differing_variables(variables: Mapping[str, np.ndarray], manifest: Mapping) -> list[str]:
    """Names whose presence, shape, type or checksum differs between the weights and a manifest, a line each."""
    found, expected = fingerprints(variables), manifest["variables"]
    return (
        [f"- {name}" for name in sorted(expected.keys() - found.keys())]
        + [f"+ {name}" for name in sorted(found.keys() - expected.keys())]
        + [f"! {name}" for name in sorted(found.keys() & expected.keys()) if found[name] != expected[name]]
    )


def load_model(path: str | pathlib.Path) -> keras.Model:
    """Loads a ``.keras`` file and holds every weight against the manifest beside it.

    Args:
        path: the ``.keras`` file; ``<name>.manifest.json`` lies beside it. The file is opened in Keras's safe mode.

    Raises:
        ConversionError: a weight is not what the manifest says (a changed file, or weights that traded places), or
            the file is no Keras model.
        OSError: a file is missing or cannot be read.
    """
    model = open_keras_file(path)
    manifest = read_manifest(manifest_path(path))
    lines = differing_variables(slim_variables(model), manifest)
    if lines:
        raise ConversionError(
            f"{path} does not hold the weights that its manifest lists: {describe(lines, changed='different')}"
        )
    return model


def open_keras_file(path: str | pathlib.Path) -> keras.Model:
    """Loads a ``.keras`` file in safe mode (no code from the file is run), without looking for a manifest.

    Raises:
        ConversionError: the file is no Keras model.
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ConversionError(f"The model {path} must be a .keras file.")
    if not path.is_file():
        raise FileNotFoundError(f"The model {path} does not exist.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras lets zipfile's, h5py's and its own errors of many types through.
        raise ConversionError(f"{path} cannot be opened as a Keras model: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
