"""Many images, read and prepared on all cores while the network computes."""

import os
from collections.abc import Iterable, Iterator, Set
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from converters.image_sizes import height_and_width
from converters.images.headers import MAX_PIXELS, Header, Row, read_header
from converters.images.image_paths import chunks
from converters.images.photographs import decode
from converters.images.preparation import prepared
from converters.images.reasons import Broken

# Paths whose headers are read at a time.
CHUNK = 1024


class Batch(NamedTuple):
    """Some paths in order: images that were read, and broken ones.

    Attributes:
        entries: For each path, the path itself if the image was read, or else a `Broken`.
        images: The images that were read, in order: float32 ``(count, height, width, 3)`` in [0, 1].
        turned: Number of paths whose EXIF orientation is not upright.
    """

    entries: tuple[str | Broken, ...]
    images: np.ndarray
    turned: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the images that were read."""
        return tuple(entry for entry in self.entries if isinstance(entry, str))

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The images that could not be read."""
        return tuple(entry for entry in self.entries if isinstance(entry, Broken))


def image_batches(
    paths: Iterable[str], image_size: int | tuple[int, int], batch_size: int = 32, turn: bool = False, channels: int = 3
) -> Iterator[Batch]:
    """Reads and prepares images in order, a batch at a time; memory does not grow with their number.

    The pixels are those of `mobilenets.preprocess`, computed by the operations that slim's evaluation called
    (``inception_preprocessing.py: preprocess_for_eval``), within 1e-6.

    Args:
        paths: JPEG, PNG, GIF (first frame), BMP or WebP files, or others that Pillow decodes (TIFF, AVIF, HEIC).
        image_size: Height and width in pixels; one number stands for both.
        batch_size: The largest number of images in a batch.
        turn: Whether to turn images upright by their EXIF orientation, which slim ignored.
        channels: 3 for RGB, 1 for grayscale.

    Yields:
        Batches, whose entries together are the paths.
    """
    size = height_and_width(image_size)
    for chunk, headers, parallel in _runs(paths):
        done = 0

        def batch(end: int, numbers: Set[int], images: np.ndarray, chunk=chunk, headers=headers) -> Batch:
            turned = sum(header.orientation != 1 for header in headers[done:end])  # noqa: B023
            return Batch(_entries(chunk, range(done, end), numbers), images, turned)  # noqa: B023

        for numbers, images in _images(chunk, headers, size, batch_size, turn, channels, parallel):
            yield batch(numbers[-1] + 1, set(numbers), images)
            done = numbers[-1] + 1
        if done < len(chunk):
            yield batch(len(chunk), set(), np.empty((0, *size, channels), np.float32))


def first_images(
    paths: Iterable[str], image_size: int | tuple[int, int], count: int = 4, turn: bool = False, channels: int = 3
) -> np.ndarray:
    """Returns up to ``count`` of the first images; broken ones are left out."""
    batches = [batch.images for batch in image_batches(islice(paths, count), image_size, count, turn, channels)]
    return np.concatenate([np.empty((0, *height_and_width(image_size), channels), np.float32), *batches])


def _runs(paths: Iterable[str]) -> Iterator[tuple[list[str], list[Header], int]]:
    """Lists of paths with their headers, and how many of these images are read at once.

    As many as there are cores, but of large images fewer: together they have at most `MAX_PIXELS`, and an image takes
    up to 6 bytes per pixel while it is read.
    """
    cores = os.cpu_count() or 1
    for chunk in chunks(paths, CHUNK):
        entries = zip(chunk, map(read_header, chunk), strict=True)
        # Images that are refused are not read.
        for large, run in groupby(entries, lambda entry: MAX_PIXELS // cores < entry[1].pixels <= MAX_PIXELS):
            names, headers = zip(*run, strict=True)
            largest = max(header.pixels for header in headers)
            yield list(names), list(headers), max(1, MAX_PIXELS // largest) if large else cores


def _images(
    paths: list[str],
    headers: list[Header],
    size: tuple[int, int],
    batch_size: int,
    turn: bool,
    channels: int,
    parallel: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (number in ``paths``, image); an image that cannot be read leaves a gap in the numbers."""
    rows = [
        Row(number, path, header, header.orientation if turn else 1)
        for number, (path, header) in enumerate(zip(paths, headers, strict=True))
        if not header.too_large and not header.refused
    ]
    yield from prepared(rows, size, batch_size, channels, parallel)


def _entries(paths: list[str], numbers: range, read: Set[int]) -> tuple[str | Broken, ...]:
    return tuple(paths[n] if n in read else Broken(paths[n], _reason(paths[n])) for n in numbers)


def _reason(path: str) -> str:
    """Returns why an image cannot be read. The pipeline drops it without a reason, so it is read again."""
    try:
        decode(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}."
    except ValueError as error:
        return str(error)
    return f"{path} could not be prepared."
