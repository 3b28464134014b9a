"""Labelled images: the class of each, from the name of its folder or from a file."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from converters.imagenet import wordnet_classes
from converters.images.image_paths import ImagePaths, text_lines
from mobilenets import PUBLISHED_CLASSES

IMAGENET = PUBLISHED_CLASSES - 1  # without "background"


class Labelled(NamedTuple):
    """An image, and the index of its class among the model's."""

    path: str
    index: int  # type: ignore[assignment]


def labelled_folder(folder: str | os.PathLike, labels: Sequence[str]) -> list[Labelled]:
    """Returns the images in ``folder/<class>/``, sorted by class folder and name.

    All class folders are named in the same way, the first of these that fits them all:

    1. the numbers 0 to 999, all thousand: ImageNet's classes without "background";
    2. numbers: indices into the model's classes ("0389" is class 389);
    3. WordNet ids such as "n01440764", all thousand or some: ImageNet's classes, in a model of 1001 or 1000 classes;
    4. the model's labels, without regard to case, with "_" or " " between words.

    In a model of 1001 classes, ImageNet's n-th class is class n, counted from 1, as class 0 is "background".

    Args:
        folder: The folder of the class folders; hidden ones (".name") are skipped.
        labels: The labels of the model's classes.

    Raises:
        ValueError: The folder has no class folders, or a name is that of no class, or of two classes.
        OSError: The folder cannot be read.
    """
    folder = pathlib.Path(folder)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(
            f"{folder} has no folder for each class in it; a file can list the classes instead (--labels-file)."
        )
    indices = _indices(names, labels, folder)
    return [Labelled(path, indices[name]) for name in names for path in ImagePaths([folder / name])]


def labels_file(path: str | os.PathLike, folder: str | os.PathLike, num_classes: int) -> list[Labelled]:
    """Returns the images in a list: each line has a path in ``folder``, a space or tab, and the index of the class.

    Where the indices are exactly 0 to 999 and the model has 1001 classes, they count ImageNet's classes without
    "background", as in `labelled_folder`.

    Raises:
        ValueError: A line has another form, an index is not that of a class, or the list is empty.
        OSError: The file cannot be read.
    """
    listed = []
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(\S.*?)\s+(\d{1,9})", line.strip())
        if not match or int(match[2]) >= num_classes:
            raise ValueError(
                f"Line {number} of {path} must be a path and the index of a class below {num_classes}, "
                f"not {line.strip()!r}."
            )
        listed.append(Labelled(os.path.join(folder, match[1]), int(match[2])))
    if not listed:
        raise ValueError(f"{path} lists no images.")
    if num_classes == PUBLISHED_CLASSES and {image.index for image in listed} == set(range(IMAGENET)):
        return [Labelled(image.path, image.index + 1) for image in listed]
    return listed


def _indices(names: list[str], labels: Sequence[str], folder: pathlib.Path) -> dict[str, int]:
    background = len(labels) - IMAGENET  # 1, or 0 in a model whose first class was cut off
    imagenet = background in (0, 1)
    if all(re.fullmatch(r"\d{1,9}", name, re.ASCII) for name in names):
        offset = background if imagenet and sorted(map(int, names)) == list(range(IMAGENET)) else 0
        indices = {name: int(name) + offset for name in names}
        for name, index in indices.items():
            if index >= len(labels):
                raise ValueError(f"{folder / name} is named by a number, but the model has {len(labels)} classes.")
        return indices
    if imagenet and all(re.fullmatch(r"n\d{8}", name) for name in names):
        return {name: _wordnet_class(folder / name) - 1 + background for name in names}
    return {name: _index(name, labels, folder) for name in names}


def _wordnet_class(folder: pathlib.Path) -> int:
    try:
        return wordnet_classes()[folder.name]
    except KeyError:
        raise ValueError(f"{folder} has the WordNet id of none of ImageNet's 1000 classes.") from None


def _index(name: str, labels: Sequence[str], folder: pathlib.Path) -> int:
    words = _words(name)
    indices = [index for index, label in enumerate(labels) if _words(label) == words]
    if len(indices) == 1:
        return indices[0]
    if indices:
        raise ValueError(f"{folder / name} has the label of several classes, {indices}: name the folders by number.")
    raise ValueError(
        f"{folder / name} does not have the name of a class: its number, its label, or (in a model of 1000 or 1001 "
        "classes) its WordNet id, in the same way for all folders."
    )


def _words(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())
