"""The likeliest classes of images."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from converters.images.models import ImageModel
    from converters.images.reasons import Broken
    from converters.runtimes.choice import Inference


class Guess(NamedTuple):
    """A class and its probability."""

    index: int  # type: ignore[assignment]
    probability: float


class Prediction(NamedTuple):
    """The likeliest classes of an image, likeliest first."""

    path: str
    guesses: tuple[Guess, ...]


def predict(
    model: "ImageModel",
    paths: Iterable[str],
    top: int = 5,
    batch_size: int = 32,
    logits: "Inference | None" = None,
    upright: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
) -> "Iterator[Prediction | Broken]":
    """Classifies images, in bounded memory.

    Args:
        model: A classification model.
        paths: Any number of image files.
        top: The number of classes for each image.
        batch_size: The number of images that the network takes at once.
        logits: From ``model.logits``; by default made here, with a runtime compared on noise.
        upright: Whether to turn images upright by their EXIF orientation, which slim ignored.
        note: Called at the end with a sentence on images that are not upright.

    Yields:
        A `Prediction` or a `Broken` for every path, in order.

    Raises:
        ConversionError: The model does not classify.

    Example:
        >>> for answer in converters.predict(converters.open_image_model("model.keras"), ["panda.jpg"], top=1):
        ...     print(answer.path, answer.guesses)
    """
    from converters.images.orientation import turned_note
    from converters.images.pipeline import image_batches
    from converters.images.reasons import Broken

    logits = logits or model.logits()
    turned = 0
    for batch in image_batches(paths, model.image_size, batch_size, upright, model.channels):
        turned += batch.turned
        rows = iter(softmax(logits(batch.images)) if len(batch.images) else ())
        for entry in batch.entries:
            yield entry if isinstance(entry, Broken) else Prediction(entry, best(next(rows), top))
    if sentence := turned_note(turned, upright):
        note(sentence)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def best(probabilities: np.ndarray, count: int) -> tuple[Guess, ...]:
    """Returns the likeliest classes, likeliest first; of equal ones the lower index first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple(Guess(int(index), float(probabilities[index])) for index in order)
