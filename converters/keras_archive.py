"""The size of what a ``.keras`` file describes, known before Keras builds it."""

import pathlib
import zipfile
import zlib

import checkpoints
from checkpoints.inputs import allowance
from converters.errors import ConversionError

CONFIG = "config.json"
MAX_CONFIG = 2**24  # bytes; Inception V2 has 0.4 MB
MAX_LAYERS = 5_000  # Inception V2 has 250


def check_archive(path: pathlib.Path) -> None:
    """Refuses a file that unpacks to far more than its size, or that describes more layers than any network has.

    A file that is no archive passes: Keras says so.

    Raises:
        ConversionError: the file is refused.
    """
    limit = allowance(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if sum(sizes.values()) > limit:
                raise ConversionError(f"{path} is refused, because it unpacks to more than {limit} bytes.")
            if sizes.get(CONFIG, 0) > MAX_CONFIG:
                raise ConversionError(f"{path} is refused: {CONFIG} in it has more than {MAX_CONFIG} bytes.")
            content = archive.read(CONFIG) if CONFIG in sizes else b"{}"
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, KeyError, zlib.error):
        return
    try:
        config = checkpoints.parse_json(content, path)
    except checkpoints.CheckpointError as error:
        raise ConversionError(f"{path} cannot be opened as a Keras model: {checkpoints.reason(error)}.") from error
    if (layers := _layers(config)) > MAX_LAYERS:
        raise ConversionError(f"{path} is refused, because it has {layers} layers, more than {MAX_LAYERS}.")


def _layers(config: object) -> int:
    """Counts the layers of a model and of the models in it."""
    count, parts = 0, [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            layers = part.get("layers")
            count += len(layers) if isinstance(layers, list) else 0
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return count
