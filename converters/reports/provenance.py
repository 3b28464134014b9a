"""Where the two sides of a verification come from, in words for a report."""

import datetime
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping

import keras

import checkpoints
from converters.errors import ConversionError
from converters.manifest import differing_variables, manifest_path
from converters.manifest_file import manifests_of
from converters.network_files import is_hub_module
from converters.sources import Variables
from converters.versions import version_of, versions
from converters.weights import slim_variables


def provenance_of(model: keras.Model, path: str | pathlib.Path, reference: Variables) -> dict[str, dict[str, str]]:
    """Describes a model, the reference that it was compared with, and the software of the comparison.

    Args:
        model: the model, as it was loaded.
        path: its ``.keras`` file; the manifest is expected next to it.
        reference: as `converters.verify` takes it.

    Returns:
        Heading -> name -> value, in the order to show them.

    Raises:
        OSError: a file cannot be read.
        checkpoints.CheckpointError: the reference cannot be read.
    """
    if isinstance(reference, Mapping):
        compared_with = {"path": "in memory"}
    else:
        compared_with = {"path": str(reference), **_checksums(_files(reference))}
    return {
        "Model": {"file": str(path), **_checksums([pathlib.Path(path)]), **_manifest_facts(model, path)},
        "Reference": compared_with,
        "Computed with": {
            "mobilenets": version_of("mobilenets"),
            **versions(),
            "Keras backend": keras.backend.backend(),
            "Python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(" ", "seconds"),
        },
    }


def _manifest_facts(model: keras.Model, path: str | pathlib.Path) -> dict[str, str]:
    """Returns what the manifest next to a model says, and whether it belongs to this model."""
    file = manifest_path(path)
    if not file.is_file():
        return {"manifest": f"none: {file.name} does not exist"}
    try:
        manifest = manifests_of(path)[0]
    except ConversionError as error:
        return {"manifest": str(error)}
    differing = len(differing_variables(slim_variables(model), manifest))
    verdict = f"{differing} variables differ from it" if differing else "every weight is as it lists it"
    source, configuration = manifest["source"], manifest["configuration"]
    return {
        "manifest": f"{file.name}: {verdict}",
        "converted from": f"{source['path']} ({source['format']})",
        **{f"sha256 of {name}": entry["sha256"] for name, entry in source["files"].items()},
        "network": ", ".join(f"{key} {_text(value)}" for key, value in configuration.items() if value is not None),
        "averaged variables": f"{manifest['averaged_variables']} of {len(manifest['variables'])}",
        "set aside": ", ".join(f"{count} {kind}" for kind, count in manifest["set_aside"].items()) or "nothing",
        "converted with": ", ".join(f"{name} {version}" for name, version in manifest["created_with"].items()),
    }


def _text(value: object) -> str:
    return "x".join("any" if size is None else str(size) for size in value) if isinstance(value, list) else str(value)


def _files(reference: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the files that a reference consists of."""
    path = pathlib.Path(reference)
    if is_hub_module(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.is_file() and (path.suffix in (".pb", ".json") or checkpoints.is_archive(path)):
        return [path]
    with checkpoints.open_variables(path) as variables:
        return list(variables.files)


def _checksums(files: Iterable[pathlib.Path]) -> dict[str, str]:
    return {f"sha256 of {file.name}": checkpoints.sha256(file) for file in files}
