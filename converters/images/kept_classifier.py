"""Classifiers that answer without TensorFlow and Keras: an earlier run kept the network."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from converters.images.exact_pixels import exact_images, is_exact
from converters.images.kept_network import KeptNetwork, known_of, read_record, record_file, write_record
from converters.images.prediction import Prediction, best, softmax
from converters.images.scaling import as_logits, in_range
from converters.runtimes.table import RUNTIMES

if TYPE_CHECKING:
    from converters.images.models import ImageModel

KIND = "classifiers"
MOST_IMAGES = 100
"""Images of a job that is done in memory. For more, the import of TensorFlow does not count."""


@dataclasses.dataclass(frozen=True)
class KeptClassifier(KeptNetwork):
    """What a run needs to know of a classifier.

    Attributes:
        has_softmax: Whether the network gives probabilities, not logits.
        num_classes: Number of classes.
        error: As in `converters.runtimes.choice.Inference`.
        bound: Likewise.
    """

    has_softmax: bool
    num_classes: int
    error: float
    bound: float

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
        run = self.function() if read else None
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


def find_classifier(
    source: str, image_size: object, runtime: str, progress: Callable = lambda done, total: None
) -> KeptClassifier | None:
    """Returns what an earlier run kept of a model; the arguments are those of `record_file`."""
    try:
        return read_record(KeptClassifier, record_file(KIND, source, image_size, runtime, progress))
    except (OSError, ValueError):
        return None


def is_worth_keeping(source: str, image_size: object, runtime: str, paths: Iterable[str]) -> bool:
    """Returns whether a later run of this kind can do without TensorFlow, and no earlier run has kept the model."""
    few = list(islice(paths, MOST_IMAGES + 1))
    names = RUNTIMES if runtime == "auto" else [name for name in RUNTIMES if name == runtime]
    if not 0 < len(few) <= MOST_IMAGES or all(RUNTIMES[name].missing() for name in names):
        return False
    with contextlib.suppress(OSError, ValueError):
        record = record_file(KIND, source, image_size, runtime)
        kept = read_record(KeptClassifier, record)
        return (kept.function() is None if kept else not record.exists()) and all(map(is_exact, few))
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
            **known_of(model, inference.file, inference.runtime),
            has_softmax=model.has_softmax,
            num_classes=model.num_classes(),
            error=inference.error,
            bound=inference.bound,
        )
    with contextlib.suppress(OSError, ValueError):
        write_record(record_file(KIND, model.name, image_size, model.runtime), kept)
