"""Classifiers that answer without TensorFlow and Keras: an earlier run kept the network and what is known of it."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

import checkpoints
from converters.images.exact_pixels import exact_images, is_exact
from converters.images.prediction import Prediction, best, softmax
from converters.images.scaling import as_logits, in_range
from converters.runtimes.network_cache import is_whole
from converters.runtimes.table import RUNTIMES, Function, usable_cores

if TYPE_CHECKING:
    from converters.images.models import ImageModel

FORMAT = "mobilenets classifier 1"
MOST_IMAGES = 100
"""Images of a job that is done in memory. For more, the import of TensorFlow does not count."""


@dataclasses.dataclass(frozen=True)
class KeptClassifier:
    """What a run needs to know of a model.

    Attributes:
        file: The converted network, in the cache folder.
        runtime: A key of `RUNTIMES`.
        version: Version of the runtime with which it was compared.
        image_size: Height and width of the images.
        image_range: Lowest and highest value that the network takes.
        has_softmax: Whether the network gives probabilities, not logits.
        num_classes: Number of classes.
        error: As in `converters.runtimes.choice.Inference`.
        bound: Likewise.
        notes: Notes on the conversion of a checkpoint.
    """

    file: str
    runtime: str
    version: str
    image_size: tuple[int, int]
    image_range: tuple[float, float]
    has_softmax: bool
    num_classes: int
    error: float
    bound: float
    notes: tuple[str, ...]

    def note(self) -> str:
        """Returns a sentence on the runtime."""
        return (
            f"The runtime is {self.runtime}, without TensorFlow and Keras: on the first images of an earlier run it "
            f"differs from the exact model by {self.error:.2g} of the largest output ({self.bound:.2g} is allowed)."
        )

    def answers(self, paths: list[str], top: int, batch_size: int, turn: bool) -> tuple[list[Prediction], int] | None:
        """Classifies images.

        Returns:
            A prediction for every path, and the number of images that are not upright; None if the runtime or the
            pixels of an image are not those of a run with TensorFlow.
        """
        read = exact_images(paths, self.image_size, turn)
        run = self._function() if read else None
        if read is None or run is None:
            return None
        images, turned = read
        rows: list[Prediction] = []
        for start in range(0, len(images), batch_size):
            outputs = run(in_range(images[start : start + batch_size], self.image_range)).reshape(-1, self.num_classes)
            values = softmax(as_logits(outputs) if self.has_softmax else outputs)
            batch = paths[start : start + batch_size]
            rows += (Prediction(path, best(row, top)) for path, row in zip(batch, values, strict=True))
        return rows, turned

    def _function(self) -> Function | None:
        row, file = RUNTIMES[self.runtime], pathlib.Path(self.file)
        if row.missing_packages() or row.version() != self.version or not is_whole(file.parent):
            return None
        return row.load(file, usable_cores())


def find_classifier(
    source: str, image_size: object, runtime: str, progress: Callable = lambda done, total: None
) -> KeptClassifier | None:
    """Returns what an earlier run kept of a model.

    Args:
        source: A ``.keras`` file, an archive or a published model. The bytes of the file, and those of a manifest next
            to it, are those of that run.
        image_size: As it was asked for; None for the model's own.
        runtime: As it was asked for.
        progress: Called during a download; see `checkpoints.fetch`.
    """
    try:
        return _read(_record(source, image_size, runtime, progress))
    except (OSError, ValueError):
        return None


def _read(record: pathlib.Path) -> KeptClassifier | None:
    try:
        values = json.loads(record.read_text())
        for name in ("image_size", "image_range", "notes"):
            values[name] = tuple(values[name])
        kept = KeptClassifier(**values)
        return kept if kept.runtime in RUNTIMES else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_worth_keeping(source: str, image_size: object, runtime: str, paths: Iterable[str]) -> bool:
    """Returns whether a later run of this kind can do without TensorFlow, and no earlier run has kept the model."""
    few = list(islice(paths, MOST_IMAGES + 1))
    names = RUNTIMES if runtime == "auto" else [name for name in RUNTIMES if name == runtime]
    if not 0 < len(few) <= MOST_IMAGES or all(RUNTIMES[name].missing() for name in names):
        return False
    with contextlib.suppress(OSError, ValueError):
        record = _record(source, image_size, runtime)
        kept = _read(record)
        return (kept._function() is None if kept else not record.exists()) and all(map(is_exact, few))
    return False


def keep_classifier(model: "ImageModel", image_size: object, first: np.ndarray) -> None:
    """Converts the network of a model, compares it with the exact model on some images, and keeps it for later runs.

    A network that no runtime computes exactly enough is recorded too, so that the next run does not convert it again.
    """
    from converters.images.models import FEW_IMAGES

    inference = model.logits(first, FEW_IMAGES)
    kept = None
    if inference.file is not None and inference.error is not None and inference.bound is not None:
        kept = KeptClassifier(
            str(inference.file.absolute()),
            inference.runtime,
            RUNTIMES[inference.runtime].version(),
            model.image_size,
            model.image_range,
            model.has_softmax,
            model.num_classes(),
            inference.error,
            inference.bound,
            model.notes,
        )
    with contextlib.suppress(OSError, ValueError):
        record = _record(model.name, image_size, model.runtime)
        record.parent.mkdir(parents=True, exist_ok=True)
        with checkpoints.replacing(record) as path:
            path.write_text(json.dumps(dataclasses.asdict(kept) if kept else None) + "\n")


def _record(
    source: str, image_size: object, runtime: str, progress: Callable = lambda done, total: None
) -> pathlib.Path:
    """Returns the file in the cache for a model as it is now.

    Raises:
        OSError: The model cannot be read.
        ValueError: It is not one file.
    """
    version = importlib.metadata.version("mobilenets")
    digest = hashlib.sha256(f"{FORMAT} {version} {image_size} {runtime}".encode())
    for file in _files(source, progress):
        digest.update(checkpoints.sha256(file).encode())
    return checkpoints.cache_folder() / "classifiers" / f"{digest.hexdigest()[:32]}.json"


def _files(source: str, progress: Callable) -> Iterator[pathlib.Path]:
    from converters.sources import find_source

    path = pathlib.Path(source)
    if path.suffix == ".keras":
        yield path
        if (manifest := path.with_suffix(".manifest.json")).exists():
            yield manifest
        return
    found = find_source(source, progress).path
    if not isinstance(found, str | os.PathLike) or not checkpoints.is_archive(pathlib.Path(found)):
        raise ValueError(f"{source} is more than one file.")
    yield pathlib.Path(found)
