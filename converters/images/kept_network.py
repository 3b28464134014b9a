"""Networks that run without TensorFlow and Keras: an earlier run kept the converted file and what is known of it."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import checkpoints
from converters.runtimes.network_cache import is_whole
from converters.runtimes.table import RUNTIMES, Function, usable_cores

if TYPE_CHECKING:
    from converters.images.models import ImageModel

FORMAT = "mobilenets kept network 1"
Kept = TypeVar("Kept", bound="KeptNetwork")


@dataclasses.dataclass(frozen=True)
class KeptNetwork:
    """What a run needs to know of a model.

    Attributes:
        file: The converted network, in the cache folder.
        runtime: A key of `RUNTIMES`.
        version: Version of the runtime with which it was compared.
        image_size: Height and width of the images.
        image_range: Lowest and highest value that the network takes.
        notes: Notes on the conversion of a checkpoint.
    """

    file: str
    runtime: str
    version: str
    image_size: tuple[int, int]
    image_range: tuple[float, float]
    notes: tuple[str, ...]

    def function(self) -> Function | None:
        """Returns the network as a function; None if its file or the runtime is not that of the earlier run."""
        row, file = RUNTIMES[self.runtime], pathlib.Path(self.file)
        if row.missing_packages() or row.version() != self.version or not is_whole(file.parent):
            return None
        return row.load(file, usable_cores())


def known_of(model: "ImageModel", file: pathlib.Path, runtime: str) -> dict[str, Any]:
    """Returns the attributes of a `KeptNetwork` for a model that was converted to a file for a runtime."""
    return {
        "file": str(file.absolute()),
        "runtime": runtime,
        "version": RUNTIMES[runtime].version(),
        "image_size": model.image_size,
        "image_range": model.image_range,
        "notes": model.notes,
    }


def record_file(
    kind: str, source: str, image_size: object, runtime: str, progress: Callable = lambda done, total: None
) -> pathlib.Path:
    """Returns the file in the cache for a model as it is now.

    Args:
        kind: What the network computes: "classifiers" or "embedders".
        source: A ``.keras`` file, an archive or a published model. The bytes of the file, and those of a manifest next
            to it, are those of the earlier run.
        image_size: As it was asked for; None for the model's own.
        runtime: As it was asked for.
        progress: Called during a download; see `checkpoints.fetch`.

    Raises:
        OSError: The model cannot be read.
        ValueError: It is not one file.
    """
    version = importlib.metadata.version("mobilenets")
    digest = hashlib.sha256(f"{FORMAT} {kind} {version} {image_size} {runtime}".encode())
    for file in _files(source, progress):
        digest.update(checkpoints.sha256(file).encode())
    return checkpoints.cache_folder() / kind / f"{digest.hexdigest()[:32]}.json"


def read_record(kind: type[Kept], record: pathlib.Path) -> Kept | None:
    """Returns what an earlier run kept; None if it kept nothing."""
    try:
        values = json.loads(record.read_text())
        for name in ("image_size", "image_range", "notes"):
            values[name] = tuple(values[name])
        kept = kind(**values)
        return kept if kept.runtime in RUNTIMES else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_record(record: pathlib.Path, kept: KeptNetwork | None) -> None:
    """Keeps a network, or that there is none, if the folder can be written."""
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with checkpoints.replacing(record) as path:
            path.write_text(json.dumps(dataclasses.asdict(kept) if kept else None) + "\n")


def _files(source: str, progress: Callable) -> Iterator[pathlib.Path]:
    from converters.sources import find_source

    path = pathlib.Path(source)
    if path.suffix == ".keras":
        yield path
        if (manifest := path.with_suffix(".manifest.json")).exists():
            yield manifest
        return
    origin = find_source(source, progress).path
    if not isinstance(origin, str | os.PathLike) or not checkpoints.is_archive(pathlib.Path(origin)):
        raise ValueError(f"{source} is more than one file.")
    yield pathlib.Path(origin)
