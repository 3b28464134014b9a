"""The labels of the classes: from a file, ImageNet's, or plain class numbers."""

import os

import checkpoints
from converters.imagenet import imagenet_labels
from mobilenets import PUBLISHED_CLASSES

BACKGROUND = "background"
MAX_BYTES = 2**24  # of a file of labels


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
        text = checkpoints.read_bounded(path, MAX_BYTES).decode("utf-8-sig").rstrip()
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


def labels_of(num_classes: int, path: str | os.PathLike | None = None) -> tuple[str, ...]:
    """Returns the labels of a model's classes.

    Args:
        num_classes: The number of classes of the model.
        path: A file of labels. Without it, a model of 1001 or 1000 classes gets ImageNet's labels, and any other model
            gets numbers.

    Raises:
        ValueError: The file has another number of labels.
        OSError: The file of labels cannot be read.
    """
    if path is not None:
        return read_labels(path, num_classes)
    if num_classes in (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return imagenet_labels()[-num_classes:]
    return class_numbers(num_classes)
