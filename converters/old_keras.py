"""``.keras`` files that older versions of Keras open too, and what to say where a version does not open one."""

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import keras

import checkpoints
from converters.keras_archive import CONFIG

METADATA = "metadata.json"

# Arguments that Keras 3.5, the oldest supported version, does not know, with the value at which newer versions compute
# the same. Newer versions write them also where nobody set them.
NEW_ARGUMENTS: dict[str, object] = {
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "optional": False,
    "ragged": False,
    "input_axes": None,
    "output_axes": None,
    "quantization_config": None,
}


def drop_new_arguments(path: str | os.PathLike[str]) -> None:
    """Rewrites a ``.keras`` file without the arguments at their defaults that Keras 3.5 does not know."""
    rewritten = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(rewritten, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == CONFIG:
                data = json.dumps(_older(json.loads(data))).encode()
            target.writestr(entry, data)
    pathlib.Path(path).write_bytes(rewritten.getvalue())


def _older(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _older(item) for key, item in value.items() if not _is_new(key, item)}
    return [_older(item) for item in value] if isinstance(value, list) else value


def _is_new(key: str, value: object) -> bool:
    return key in NEW_ARGUMENTS and type(value) is type(NEW_ARGUMENTS[key]) and value == NEW_ARGUMENTS[key]


def version_note(path: str | os.PathLike[str]) -> str:
    """Returns, for the end of a sentence, which other version of Keras wrote a file; empty if none did."""
    try:
        with zipfile.ZipFile(path) as file:
            version = str(json.loads(file.read(METADATA))["keras_version"])
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile):
        return ""
    if version == keras.__version__:
        return ""
    return f" (written with Keras {checkpoints.shown(version)}, this is {keras.__version__})"
