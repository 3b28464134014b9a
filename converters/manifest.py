"""The manifest next to a ``.keras`` file: the origin of the weights, a checksum for each, and the structure.

A Keras weights file stores arrays by layer type and counter, not by name: arrays of equal shape that trade places
load without an error. And a changed configuration (another epsilon, another stride) loads with the same weights. The
manifest pins every slim variable by its checksum and every layer by its arguments, so that both are detected.
"""

from collections.abc import Mapping, Sequence

import numpy as np

import checkpoints
import mobilenets
from converters.conversion import Conversion
from converters.differences import Difference, differences
from converters.errors import ConversionError
from converters.manifest_file import FORMAT, FORMAT_VERSION, manifest_path, read_manifest, with_id
from converters.structure import structure
from converters.versions import versions
from converters.weights import slim_variables
from mobilenets.random_values import without_random_values

__all__ = [
    "configured_structure",
    "differing_variables",
    "fingerprints",
    "manifest_of",
    "manifest_path",
    "published_in",
    "read_manifest",
]

NOT_VERIFIED = {part: {"result": "not compared", "compared": 0, "notes": []} for part in ("weights", "outputs")}


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


def manifest_of(conversion: Conversion, verification: Mapping[str, Mapping] | None = None) -> dict:
    """Returns the manifest of a conversion, as JSON values.

    Args:
        conversion: what was converted.
        verification: what was compared before the model got its name; see `converters.saved_file.verify_file`.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_with": versions(),
        "source": {
            "path": conversion.source,
            "format": conversion.source_format,
            **({"fetched_from": conversion.fetched_from} if conversion.fetched_from else {}),
            "files": {
                path.name: {"sha256": checkpoints.sha256(path), "bytes": path.stat().st_size}
                for path in conversion.source_files
            },
        },
        "configuration": dict(conversion.configuration),
        "averaged_variables": conversion.averaged,
        "set_aside": dict(conversion.set_aside),
        "notes": list(conversion.notes),
        "verification": dict(verification or NOT_VERIFIED),
        "structure": structure(conversion.model),
        "variables": fingerprints(slim_variables(conversion.model)),
    }
    return with_id(manifest)


def configured_structure(manifest: Mapping) -> dict[str, str]:
    """Returns the structure that a manifest pins, or builds it from the configuration (of files before it was kept)."""
    if "structure" in manifest:
        return dict(manifest["structure"])
    configuration = {
        key: value for key, value in manifest["configuration"].items() if key not in ("family", "name", "ends_at")
    }
    try:
        with without_random_values():
            return structure(mobilenets.CONSTRUCTORS[manifest["configuration"]["family"]](**configuration))
    except (KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"A manifest has a configuration of no network: {checkpoints.reason(error)}.") from error


def differing_variables(variables: Mapping[str, np.ndarray], manifest: Mapping) -> list[Difference]:
    """Returns the names whose presence, shape, type or checksum differs between the weights and a manifest."""
    return differences(manifest["variables"], fingerprints(variables))


def published_in(manifests: Sequence[Mapping]) -> mobilenets.ModelInfo | None:
    """Returns the published model that the manifests of a model name, if they do; see `manifests_of`."""
    names = [manifest["configuration"].get("name") for manifest in manifests]
    try:
        return mobilenets.get_model_info(names[0]) if names and isinstance(names[0], str) else None
    except ValueError:
        return None
