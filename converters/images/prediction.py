"""What a classification model sees in images."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from converters.images.models import ImageModel
from converters.images.pipeline import Broken, image_batches


class Guess(NamedTuple):
    """A class, and the probability that the model gives it."""

    index: int
    probability: float


class Prediction(NamedTuple):
    """The likeliest classes of an image, likeliest first."""

    path: str
    guesses: tuple[Guess, ...]


def predict(
    model: ImageModel, paths: Iterable[str], top: int = 5, batch_size: int = 32
) -> Iterator[Prediction | Broken]:
    """Classifies images, in bounded memory; those that cannot be read are named.

    Args:
        model: a classification model.
        paths: image files of any number.
        top: how many classes to give for each.
        batch_size: how many images go through the network at once.

    Yields:
        A `Prediction` or a `Broken` for every path, in order.

    Raises:
        ConversionError: the model does not classify.
    """
    logits = model.logits()
    for batch in image_batches(paths, model.image_size, batch_size):
        rows = iter(softmax(logits(batch.images)) if len(batch.images) else ())
        for entry in batch.entries:
            yield entry if isinstance(entry, Broken) else Prediction(entry, best(next(rows), top))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def best(probabilities: np.ndarray, count: int) -> tuple[Guess, ...]:
    """The largest first; of equal ones the lower index first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple(Guess(int(index), float(probabilities[index])) for index in order)
