"""The accuracy of a classification model on labelled images, with confidence intervals."""

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
from converters.images.photographs import decoder
from converters.images.pipeline import first_images, image_batches
from converters.images.reasons import Broken

FORMAT = "mobilenets evaluation 2"
# Number of images between two writes of the journal.
STEP = 512
# Number of images that cannot be right by chance.
MANY = 5


def wilson_interval(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the confidence interval of a probability, from ``right`` successes in ``count`` trials.

    Wilson's score interval (E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 209-212): with z the normal quantile and p = right / count,
    ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``. Unlike the one from the standard error it stays in [0, 1]
    and has a width also where none or all are right.

    Raises:
        ValueError: The counts are not ``0 <= right <= count`` with ``count >= 1``, or the confidence is not in (0, 1).

    Example:
        >>> low, high = wilson_interval(2, 2)
        >>> round(low, 2), high
        (0.34, 1.0)
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
        done: Number of images processed, including broken ones.
        top1: Number of images whose class has the highest logit.
        top5: Number of images whose class has one of the five highest logits.
        broken: Images that could not be read; they count neither as right nor as wrong.
        one_higher: Number of images for which the class after theirs has the highest logit.
    """

    done: int = 0
    top1: int = 0
    top5: int = 0
    broken: tuple[Broken, ...] = ()
    one_higher: int = 0

    @property
    def count(self) -> int:
        """Number of images that were classified."""
        return self.done - len(self.broken)


def evaluate(
    model: ImageModel,
    images: Sequence[Labelled],
    journal: str | os.PathLike,
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda done: None,
    note: Callable[[str], None] = lambda sentence: None,
) -> Evaluation:
    """Counts how often a model is right, and resumes an interrupted run that used the same journal.

    A resumed run uses the same batches, so its result is that of a run without interruption. Changes of images that
    were already counted are not detected.

    Args:
        model: A classification model.
        images: The images and their classes.
        journal: The file that keeps the counts during the run. It is replaced whole every `STEP` images and removed at
            the end. The journal of another model or of other images is ignored.
        batch_size: The number of images that the network takes at once.
        progress: Called with the number of finished images.
        note: Called with sentences on the runtime, and if the labels seem to count from 0.

    Raises:
        ValueError: The model does not classify, or no image can be read.
        OSError: The journal cannot be written.
    """
    journal = pathlib.Path(journal)
    logits = model.logits(
        first_images((image.path for image in images), model.image_size, channels=model.channels), len(images)
    )
    for sentence in logits.notes:
        note(sentence)
    job = _job(model, images, batch_size)
    result = _read(journal, job)
    progress(result.done)
    while result.done < len(images):
        step = images[result.done : result.done + STEP]
        result = _added(result, _step(logits, step, model.image_size, batch_size, model.channels))
        _write(journal, job, result)
        progress(result.done)
    journal.unlink(missing_ok=True)
    if not result.count:
        raise ValueError(f"None of the {len(images)} images can be read; the first: {result.broken[0].reason}")
    # Labels that count ImageNet's classes from 0, for a model whose class 0 is "background".
    if result.one_higher >= MANY and result.one_higher > 3 * result.top1:
        note(
            f"The model is right far more often with every class one higher: on {result.one_higher} of {result.count} "
            f"images, instead of {result.top1}. The labels seem to count from 0, and the model from 1."
        )
    return result


def journal_name(model: ImageModel, images: Sequence[Labelled]) -> str:
    """Returns a file name for the journal that is unique to the model and the images."""
    return f"evaluation-{_job(model, images, 0)[:24]}.json"


def ranks(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns the rank of the true class in each row, from 0, as ``tf.math.in_top_k`` counts.

    A row with a logit that is not finite has the last rank.
    """
    right = np.take_along_axis(logits, classes[:, None], axis=1)
    counted = (logits > right).sum(axis=1)
    return np.where(np.isfinite(logits).all(axis=1), counted, logits.shape[1])


def _step(
    logits: Callable, images: Sequence[Labelled], image_size: tuple[int, int], batch_size: int, channels: int
) -> Evaluation:
    total, place = Evaluation(), 0
    for batch in image_batches([image.path for image in images], image_size, batch_size, channels=channels):
        entries = list(enumerate(batch.entries, place))
        place += len(entries)
        classes = np.array([images[n].index for n, entry in entries if isinstance(entry, str)], int)
        outputs = logits(batch.images) if len(classes) else np.empty((0, 1))
        rank = ranks(outputs, classes)
        # The class after the last one does not exist.
        higher = (classes + 1 < outputs.shape[1]) & (ranks(outputs, np.minimum(classes + 1, outputs.shape[1] - 1)) < 1)
        counts = Evaluation(len(entries), int((rank < 1).sum()), int((rank < 5).sum()), batch.broken, int(higher.sum()))
        total = _added(total, counts)
    return total


def _added(one: Evaluation, other: Evaluation) -> Evaluation:
    return Evaluation(
        one.done + other.done,
        one.top1 + other.top1,
        one.top5 + other.top5,
        one.broken + other.broken,
        one.one_higher + other.one_higher,
    )


def _job(model: ImageModel, images: Sequence[Labelled], batch_size: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {model.digest()} {model.runtime} {decoder()} {batch_size} {STEP}".encode())
    for image in images:
        digest.update(os.fsencode(os.path.abspath(image.path)) + f"\0{image.index}\0".encode())
    return digest.hexdigest()


def _read(journal: pathlib.Path, job: str) -> Evaluation:
    try:
        kept = checkpoints.read_json(journal)
        if kept["job"] != job:
            return Evaluation()
        result = Evaluation(**kept["counts"])
        counts = (result.done, result.top1, result.top5, result.one_higher)
        if any(type(count) is not int or not 0 <= count <= result.done for count in counts):
            return Evaluation()
        return replace(result, broken=tuple(Broken(*entry) for entry in result.broken))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Evaluation()


def _write(journal: pathlib.Path, job: str, result: Evaluation) -> None:
    with checkpoints.replacing(journal) as path:
        path.write_text(json.dumps({"job": job, "counts": asdict(result)}))
