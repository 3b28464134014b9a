"""The labels of the classes: from a file, from a download that is kept, or plain class numbers."""

import os
import pathlib
import threading

import checkpoints
from mobilenets import PUBLISHED_CLASSES

# The list that TensorFlow's tutorials use with these networks: 1001 lines, "background" first.
LABELS_URL = "https://storage.googleapis.com/download.tensorflow.org/data/ImageNetLabels.txt"
BACKGROUND = "background"


def read_labels(path: str | os.PathLike, num_classes: int = PUBLISHED_CLASSES) -> tuple[str, ...]:
    """Reads a file with one label per line.

    Args:
        path: A UTF-8 text file. For 1001 classes the first label, "background", may be missing; for 1000 classes (other
            libraries remove that class) it may be present.
        num_classes: The number of classes of the model.

    Raises:
        ValueError: The file is not text, or has another number of labels.
        OSError: The file cannot be read.
    """
    try:
        # Editors on Windows write a byte-order mark first; empty lines at the end are no labels.
        text = pathlib.Path(path).read_text(encoding="utf-8-sig").rstrip()
        labels = tuple(line.strip() for line in text.splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"The labels file {path} is not text in UTF-8.") from error
    if (len(labels), num_classes) == (PUBLISHED_CLASSES - 1, PUBLISHED_CLASSES):
        return (BACKGROUND, *labels)
    if (len(labels), num_classes) == (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return labels[1:]
    if len(labels) != num_classes:
        raise ValueError(f"The labels file {path} has {len(labels)} lines, but the model has {num_classes} classes.")
    return labels


def class_numbers(num_classes: int) -> tuple[str, ...]:
    """Returns ``class 0``, ``class 1`` and so on."""
    return tuple(f"class {index}" for index in range(num_classes))


def labels_of(num_classes: int, path: str | os.PathLike | None = None) -> tuple[tuple[str, ...], str | None]:
    """Returns the labels of a model's classes.

    Args:
        num_classes: The number of classes of the model.
        path: A file of labels. Without it, a model of 1001 or 1000 classes gets ImageNet's labels, which are downloaded
            once (`checkpoints.fetch`), and any other model gets numbers.

    Returns:
        The labels, and a sentence if numbers replace ImageNet's labels because they could not be downloaded.

    Raises:
        ValueError: The file has another number of labels.
        OSError: The file of labels cannot be read.
    """
    if path is not None:
        return read_labels(path, num_classes), None
    if num_classes not in (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return class_numbers(num_classes), None
    try:
        return read_labels(_fetched(LABELS_URL), num_classes), None
    except (ValueError, OSError) as error:
        return class_numbers(num_classes), f"The labels could not be downloaded, so the classes are numbered: {error}"


def _fetched(url: str, seconds: float = 5.0) -> pathlib.Path:
    """The file at a URL, from the cache or by a download of a few seconds.

    The download runs in a thread, because the look-up of a host's name has no timeout and may take long offline.
    """
    results: list[pathlib.Path | Exception] = []

    def fetch() -> None:
        try:
            results.append(checkpoints.fetch(url, timeout=seconds / 2, tries=1))
        except (ValueError, OSError) as error:
            results.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise TimeoutError(f"{url} did not answer in {seconds:g} seconds.")
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]
