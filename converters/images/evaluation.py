"""How often a classification model is right, with what that many images can tell."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist

import numpy as np

import checkpoints
from converters.images.labelled import Labelled
from converters.images.models import ImageModel
from converters.images.pipeline import Broken, image_batches

FORMAT = "mobilenets evaluation 1"
# Images between two entries in the journal.
STEP = 512


def wilson_interval(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that a probability lies in, as far as ``right`` out of ``count`` trials tell.

    Wilson's score interval (E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 209-212): with z the normal quantile and p = right / count,
    ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``. Unlike the one from the standard error it stays in [0, 1]
    and says something where none or all are right.

    Raises:
        ValueError: if the counts are none, or the confidence does not lie in (0, 1).
    """
    if not 0 <= right <= count or count < 1 or not 0 < confidence < 1:
        raise ValueError(f"There is no interval for {right} of {count} at the confidence {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2n = right / count, z * z / count
    half = z * math.sqrt(p * (1 - p) / count + z2n / (4 * count))
    middle = p + z2n / 2
    return max(0.0, (middle - half) / (1 + z2n)), min(1.0, (middle + half) / (1 + z2n))


@dataclass(frozen=True)
class Evaluation:
    """Counts over a set of images.

    Attributes:
        done: images that were looked at, broken ones included.
        top1: images whose class the model found the likeliest.
        top5: images whose class is among the model's five likeliest.
        broken: images that could not be read; they count neither as right nor as wrong.
    """

    done: int = 0
    top1: int = 0
    top5: int = 0
    broken: tuple[Broken, ...] = ()

    @property
    def count(self) -> int:
        """Images that were classified."""
        return self.done - len(self.broken)


def evaluate(
    model: ImageModel,
    images: Sequence[Labelled],
    journal: str | os.PathLike,
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Counts how often a model is right, and goes on where an earlier run with the same journal was broken off.

    The result is the same as that of a run in one go: the images are taken in the same batches. Changes of images
    that were counted already are not noticed.

    Args:
        model: a classification model.
        images: what to classify, and as what.
        journal: the file that keeps the counts while it runs, replaced whole every `STEP` images and removed in the
            end. One of another model or of other images is not used.
        batch_size: how many images go through the network at once.
        progress: called with the number of images that are done.

    Raises:
        ValueError: the model does not classify, or there is nothing to count.
        OSError: the journal cannot be written.
    """
    journal = pathlib.Path(journal)
    logits = model.logits()
    job = _job(model, images, batch_size)
    result = _read(journal, job)
    progress(result.done)
    while result.done < len(images):
        step = images[result.done : result.done + STEP]
        result = _added(result, _step(logits, step, model.image_size, batch_size))
        _write(journal, job, result)
        progress(result.done)
    journal.unlink(missing_ok=True)
    if not result.count:
        raise ValueError(f"None of the {len(images)} images can be read; the first: {result.broken[0].reason}")
    return result


def journal_name(model: ImageModel, images: Sequence[Labelled]) -> str:
    """A file name for the journal that no other model and no other images have."""
    return f"evaluation-{_job(model, images, 0)[:24]}.json"


def ranks(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How many classes each row holds likelier than the one that is right (as ``tf.math.in_top_k`` counts).

    Where a logit is not a finite number, none is known to be less likely.
    """
    right = np.take_along_axis(logits, classes[:, None], axis=1)
    counted = (logits > right).sum(axis=1)
    return np.where(np.isfinite(logits).all(axis=1), counted, logits.shape[1])


def _step(logits: Callable, images: Sequence[Labelled], image_size: tuple[int, int], batch_size: int) -> Evaluation:
    total, place = Evaluation(), 0
    for batch in image_batches([image.path for image in images], image_size, batch_size):
        entries = list(enumerate(batch.entries, place))
        place += len(entries)
        classes = np.array([images[n].index for n, entry in entries if isinstance(entry, str)], int)
        found = ranks(logits(batch.images), classes) if len(classes) else np.empty(0, int)
        counts = Evaluation(len(entries), int((found < 1).sum()), int((found < 5).sum()), batch.broken)
        total = _added(total, counts)
    return total


def _added(one: Evaluation, other: Evaluation) -> Evaluation:
    return Evaluation(one.done + other.done, one.top1 + other.top1, one.top5 + other.top5, one.broken + other.broken)


def _job(model: ImageModel, images: Sequence[Labelled], batch_size: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {model.digest()} {batch_size} {STEP}".encode())
    for image in images:
        digest.update(os.fsencode(os.path.abspath(image.path)) + f"\0{image.index}\0".encode())
    return digest.hexdigest()


def _read(journal: pathlib.Path, job: str) -> Evaluation:
    try:
        kept = json.loads(journal.read_text())
        if kept["job"] != job:
            return Evaluation()
        result = Evaluation(**kept["counts"])
        return replace(result, broken=tuple(Broken(*entry) for entry in result.broken))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Evaluation()


def _write(journal: pathlib.Path, job: str, result: Evaluation) -> None:
    with checkpoints.replacing(journal) as path:
        path.write_text(json.dumps({"job": job, "counts": asdict(result)}))
