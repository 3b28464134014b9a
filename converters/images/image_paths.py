"""The images that a command line names: files, folders, globs and lists of paths."""

import glob
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import checkpoints
from converters.images.headers import pillow_suffixes

MAX_LINE = 2**15  # characters; a path has 4096 at most on Linux
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", *pillow_suffixes())


class ImagePaths(Iterable[str]):
    """Paths of images in a fixed order. Each iteration searches again, so memory does not grow with their number.

    Args:
        names: Files; folders; or globs such as ``photos/**/*.png`` where no file has that name. A folder stands for
            all files in it and in its subfolders that end like images (`SUFFIXES`), sorted by name; names that begin
            with a dot are skipped, and a linked folder is searched once.
        lists: Text files with one path per line; empty lines are skipped.

    Raises:
        ValueError: A folder holds no image, or a glob matches nothing.
        OSError: A list or a folder cannot be read.
    """

    def __init__(self, names: Iterable[str | os.PathLike] = (), lists: Iterable[str | os.PathLike] = ()):
        self.names = tuple(os.fspath(name) for name in names)
        self.lists = tuple(os.fspath(path) for path in lists)
        for name in self.names:
            if os.path.isdir(name) and next(_in_folder(name), None) is None:
                raise ValueError(f"The folder {name} holds no images ({', '.join(SUFFIXES)}).")
            if _is_glob(name) and next(_in_glob(name), None) is None:
                raise ValueError(f"No file matches {name}.")
        for path in self.lists:
            checkpoints.check_regular(path)
            if not pathlib.Path(path).is_file():
                raise FileNotFoundError(f"The list of images {path} does not exist.")

    def __iter__(self) -> Iterator[str]:
        for name in self.names:
            if os.path.isdir(name):
                yield from _in_folder(name)
            elif _is_glob(name):
                yield from _in_glob(name)
            else:
                yield name
        for path in self.lists:
            yield from filter(None, (line.rstrip("\r\n") for line in text_lines(path)))

    def skipped(self) -> dict[str, int]:
        """Counts the files in the folders that are not taken, by suffix, most frequent first."""
        counts = Counter(
            os.path.splitext(name)[1].lower() or "no suffix"
            for folder in self.names
            if os.path.isdir(folder)
            for _, files in _walk(folder)
            for name in files
            if not name.lower().endswith(SUFFIXES)
        )
        return dict(counts.most_common())


def text_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yields the lines of a list of images, in bounded memory.

    Raises:
        ValueError: The path is no regular file, or a line is longer than any path.
        OSError: The list cannot be read.
    """
    checkpoints.check_regular(path)
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as stream:
        while line := stream.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise ValueError(f"{path} is no list of images: a line in it has {MAX_LINE} characters or more.")
            yield line


def chunks(paths: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yields the paths in lists of ``size``; the last one may be shorter."""
    paths = iter(paths)
    while chunk := list(islice(paths, size)):
        yield chunk


def _in_folder(folder: str) -> Iterator[str]:
    for place, files in _walk(folder):
        yield from (os.path.join(place, name) for name in files if name.lower().endswith(SUFFIXES))


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder below a folder, and the sorted names of its files, without those that begin with a dot."""

    def fail(error: OSError):
        raise error

    # Links can form loops, so each real folder is searched once.
    searched = set()
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        if real in searched:
            folders.clear()
            continue
        searched.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield place, [name for name in sorted(files) if not name.startswith(".")]


def _is_glob(name: str) -> bool:
    return glob.has_magic(name) and not os.path.lexists(name)


def _in_glob(pattern: str) -> Iterator[str]:
    return (path for path in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(path))
