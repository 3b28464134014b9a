"""Where the two sides of a verification come from, in words for a report."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping

import keras

import checkpoints
from converters.errors import ConversionError
from converters.hub.module import is_hub_module
from converters.manifest import differing_variables, manifest_path, read_manifest
from converters.sources import Variables
from converters.weights import slim_variables

PACKAGES = ("mobilenets", "keras", "tensorflow", "numpy")


def provenance_of(model: keras.Model, path: str | pathlib.Path, reference: Variables) -> dict[str, dict[str, str]]:
    """What is known of a model, of what it was held against, and of what computed the comparison.

    Args:
        model: the model, as it was loaded.
        path: its ``.keras`` file; the manifest is looked for beside it.
        reference: as `converters.verify` takes it.

    Returns:
        Heading -> name -> value, in the order to show them.

    Raises:
        OSError: a file cannot be read.
        checkpoints.CheckpointError: the reference cannot be read.
    """
    if isinstance(reference, Mapping):
        held_against = {"path": "in memory"}
    else:
        held_against = {"path": str(reference), **_checksums(_files(reference))}
    return {
        "Model": {"file": str(path), **_checksums([pathlib.Path(path)]), **_manifest_facts(model, path)},
        "Reference": held_against,
        "Computed with": {
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "Keras backend": keras.backend.backend(),
            "Python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(" ", "seconds"),
        },
    }


def _manifest_facts(model: keras.Model, path: str | pathlib.Path) -> dict[str, str]:
    """What the manifest beside a model tells, and whether it is this model's."""
    beside = manifest_path(path)
    if not beside.is_file():
        return {"manifest": f"none: {beside.name} is not there"}
    try:
        manifest = read_manifest(beside)
    except ConversionError as error:
        return {"manifest": str(error)}
    differing = len(differing_variables(slim_variables(model), manifest))
    verdict = f"{differing} variables are not as it lists them" if differing else "every weight is as it lists it"
    source, configuration = manifest["source"], manifest["configuration"]
    return {
        "manifest": f"{beside.name}: {verdict}",
        "converted from": f"{source['path']} ({source['format']})",
        **{f"sha256 of {name}": file["sha256"] for name, file in source["files"].items()},
        "network": ", ".join(f"{key} {_text(value)}" for key, value in configuration.items() if value is not None),
        "averaged variables": f"{manifest['averaged_variables']} of {len(manifest['variables'])}",
        "set aside": ", ".join(f"{count} {kind}" for kind, count in manifest["set_aside"].items()) or "nothing",
        "converted with": ", ".join(f"{name} {version}" for name, version in manifest["created_with"].items()),
    }


def _text(value: object) -> str:
    return "x".join("any" if size is None else str(size) for size in value) if isinstance(value, list) else str(value)


def _files(reference: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The files that a reference consists of."""
    path = pathlib.Path(reference)
    if is_hub_module(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.is_file() and (path.suffix in (".pb", ".json") or checkpoints.is_archive(path)):
        return [path]
    with checkpoints.open_variables(path) as variables:
        return list(variables.files)


def _checksums(files: Iterable[pathlib.Path]) -> dict[str, str]:
    return {f"sha256 of {file.name}": checkpoints.sha256(file) for file in files}
