"""Where a manifest is: next to its ``.keras`` file, for people and programs, and in it, where nothing can part the two.

A ``.keras`` file is a zip archive, in which Keras ignores further members. Model and manifest get their names in two
steps, so after a kill, or where two programs write the same files, the manifest next to a model may be that of another
conversion. Both copies have an id; the one in the archive is the model's own.
"""

import hashlib
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import checkpoints
from converters.errors import ConversionError
from converters.staging import check_output

FORMAT = "mobilenets manifest"
FORMAT_VERSION = 1
MEMBER = "mobilenets.manifest.json"
MAX_BYTES = 2**24  # a manifest of the largest network has 0.1 MB
MAX_NAMES = 20_000

# The types of what a manifest holds. A dict with the key None has any names; a tuple lists alternatives.
_FIELDS: dict[str | None, Any] = {
    "format": str,
    "format_version": int,
    "created_with": {None: str},
    "source": {"path": str, "format": str, "files": {None: {"sha256": str, "bytes": int}}},
    "configuration": {None: object},
    "averaged_variables": int,
    "set_aside": {None: int},
    "notes": [str],
    "variables": {None: {"shape": [int], "dtype": str, "masked_crc32c": str}},
}
_OPTIONAL = {"structure": {None: str}, "id": str}  # later than the first manifests


def manifest_path(model_path: str | pathlib.Path) -> pathlib.Path:
    """``model.keras`` -> ``model.manifest.json``."""
    return pathlib.Path(model_path).with_suffix(".manifest.json")


def with_id(manifest: Mapping) -> dict:
    """Returns a manifest, as it is after writing and reading, with its id, which follows from all that it says."""
    text = json.dumps(manifest, sort_keys=True)
    return {**json.loads(json.dumps(manifest)), "id": hashlib.sha256(text.encode()).hexdigest()[:32]}


def text_of(manifest: Mapping) -> str:
    """Returns a manifest as it stands in a file."""
    return json.dumps(manifest, indent=1) + "\n"


def add_manifest(model_path: pathlib.Path, manifest: Mapping) -> None:
    """Adds a manifest to a ``.keras`` file."""
    with zipfile.ZipFile(model_path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), text_of(manifest))  # with a fixed date


def read_manifest(path: str | pathlib.Path) -> dict:
    """Reads a manifest.

    Raises:
        ConversionError: the file is no manifest, or one of a later format.
        OSError: the file cannot be read.
    """
    try:
        content = checkpoints.read_bounded(path, MAX_BYTES)
    except checkpoints.CheckpointError as error:
        raise ConversionError(str(error)) from error
    return _checked(content, str(path))


def manifest_in(model_path: str | pathlib.Path) -> dict | None:
    """Returns the manifest in a ``.keras`` file; None if it has none or is no archive.

    Raises:
        ConversionError: the archive has a file of this name that is no manifest.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(model_path) as archive, archive.open(MEMBER) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, ValueError, EOFError):
        return None
    return _checked(content, f"{MEMBER} in {model_path}")


def manifests_of(model_path: str | pathlib.Path) -> list[dict]:
    """Returns the manifests that a model must agree with: the one in it, and the one next to it if that is its own.

    Raises:
        ConversionError: one of them is no manifest.
        OSError: a file cannot be read.
    """
    path = manifest_path(model_path)
    inner = manifest_in(model_path)
    outer = read_manifest(path) if path.exists() else None
    if inner is None or outer is None:
        return [manifest for manifest in (outer, inner) if manifest is not None]
    if outer.get("id") != inner.get("id"):
        return [inner]
    return [outer] if outer == inner else [outer, inner]


def is_of_another(path: pathlib.Path, model_path: pathlib.Path) -> bool:
    """Returns whether the manifest next to a model is that of another conversion than the one in the model."""
    if path != manifest_path(model_path) or not model_path.is_file():
        return False
    inner = manifest_in(model_path)
    return inner is not None and inner.get("id") != read_manifest(path).get("id")


def check_model_path(path: pathlib.Path, force: bool) -> None:
    """As `check_output`, for a model: its name ends in ``.keras``, and no file of others has its manifest's name."""
    if path.suffix != ".keras":
        raise ConversionError(f"The output {path} must end in .keras.")
    check_output(path, force)
    manifest = manifest_path(path)
    checkpoints.check_name(manifest)
    if manifest.exists() and not force:
        try:
            # One that stands alone was left by a run that was killed.
            read_manifest(manifest)
        except (ConversionError, OSError):
            raise ConversionError(
                f"The output {manifest} exists and is no manifest; use --force (force=True) to replace it."
            ) from None


def _checked(content: bytes, where: str) -> dict:
    try:
        manifest = checkpoints.parse_json(content, where)
        known = (manifest["format"], manifest["format_version"]) == (FORMAT, FORMAT_VERSION)
        wrong = _misfit(manifest, _FIELDS | {name: kind for name, kind in _OPTIONAL.items() if name in manifest})
    except (checkpoints.CheckpointError, TypeError, KeyError, AttributeError):
        known, wrong = False, None
    if not known or wrong or not manifest["variables"]:
        text = f"{where} is not a manifest of format version {FORMAT_VERSION}, as convert writes it"
        raise ConversionError(f"{text}: {wrong}." if known and wrong else f"{text}.")
    return manifest


def _misfit(value: object, kind: Any, where: str = "it") -> str | None:
    """Says what in a value is of another type than expected; None if all fits."""
    if isinstance(kind, dict):
        if not isinstance(value, dict) or len(value) > MAX_NAMES:
            return f"{where} is no object of at most {MAX_NAMES} names"
        kinds = dict.fromkeys(value, kind[None]) if None in kind else kind
        for name, sort in kinds.items():
            if name not in value:
                return f"{where} lacks {name}"
            if text := _misfit(value[name], sort, name):
                return text
        return None
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next((text for part in value if (text := _misfit(part, kind[0], where))), None)
    if kind is object or type(value) is kind:
        return None
    return f"{where} is not of type {kind.__name__}"
