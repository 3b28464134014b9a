"""The names of the classes: from a file, from a download that is kept, or plain class numbers."""

import os
import pathlib
import threading

import checkpoints
from mobilenets import PUBLISHED_CLASSES

# The list that TensorFlow's tutorials use with these networks: 1001 lines, "background" first.
LABELS_URL = "https://storage.googleapis.com/download.tensorflow.org/data/ImageNetLabels.txt"
BACKGROUND = "background"


def read_labels(path: str | os.PathLike, num_classes: int = PUBLISHED_CLASSES) -> tuple[str, ...]:
    """Reads a file with one label a line.

    Args:
        path: a UTF-8 text file. For 1001 classes it may leave the first, "background", out; for 1000 classes, as
            converters to other libraries cut them, it may have it.
        num_classes: how many labels are wanted.

    Raises:
        ValueError: the file is no text, or holds another number of labels.
        OSError: the file cannot be read.
    """
    try:
        labels = tuple(line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"The labels file {path} is not a text in UTF-8.") from error
    if (len(labels), num_classes) == (PUBLISHED_CLASSES - 1, PUBLISHED_CLASSES):
        return (BACKGROUND, *labels)
    if (len(labels), num_classes) == (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return labels[1:]
    if len(labels) != num_classes:
        raise ValueError(f"The labels file {path} has {len(labels)} lines, but the model has {num_classes} classes.")
    return labels


def class_numbers(num_classes: int) -> tuple[str, ...]:
    """``class 0``, ``class 1`` and so on."""
    return tuple(f"class {index}" for index in range(num_classes))


def labels_of(num_classes: int, path: str | os.PathLike | None = None) -> tuple[tuple[str, ...], str | None]:
    """The labels of a model's classes.

    Args:
        num_classes: of the model.
        path: a file of labels. Without it, a model of 1001 or 1000 classes has ImageNet's, which are downloaded once
            (`checkpoints.fetch`), and any other has numbers.

    Returns:
        The labels, and a sentence where numbers had to stand in for ImageNet's labels.

    Raises:
        ValueError: the file of labels does not fit.
        OSError: the file of labels cannot be read.
    """
    if path is not None:
        return read_labels(path, num_classes), None
    if num_classes not in (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return class_numbers(num_classes), None
    try:
        return read_labels(_fetched(LABELS_URL), num_classes), None
    except (ValueError, OSError) as error:
        return class_numbers(num_classes), f"Classes are numbered, as their labels could not be had: {error}"


def _fetched(url: str, seconds: float = 5.0) -> pathlib.Path:
    """The file under a URL, from the cache or else in a few seconds.

    The download has a thread of its own, as the look-up of a host's name obeys no timeout, and offline it may be long.
    """
    found = []

    def fetch() -> None:
        try:
            found.append(checkpoints.fetch(url, timeout=seconds / 2, tries=1))
        except (ValueError, OSError) as error:
            found.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError(f"{url} did not answer in {seconds:g} seconds.")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
