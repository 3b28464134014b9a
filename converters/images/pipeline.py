"""Many images, read and prepared on all cores while the network computes: one tf.data pipeline."""

import os
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from converters.images.files import chunks
from converters.images.headers import Header, pillow_pixels, read_header, upright
from converters.images.photographs import decode
from converters.images.sizes import height_and_width

# Paths in one dataset. Making a dataset costs as much as reading about ten images.
CHUNK = 1024


class Broken(NamedTuple):
    """An image that could not be read, and a sentence with the reason."""

    path: str
    reason: str


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
    for chunk in chunks(paths, CHUNK):
        headers = [read_header(path) for path in chunk]
        done = 0

        def batch(end: int, numbers: Set[int], images: np.ndarray, chunk=chunk, headers=headers) -> Batch:
            turned = sum(header.orientation != 1 for header in headers[done:end])  # noqa: B023
            return Batch(_entries(chunk, range(done, end), numbers), images, turned)  # noqa: B023

        for numbers, images in _images(chunk, headers, size, batch_size, turn, channels):
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


def _images(
    paths: list[str], headers: list[Header], size: tuple[int, int], batch_size: int, turn: bool, channels: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (number in ``paths``, image); an image that cannot be read leaves a gap in the numbers."""
    rows = [
        (number, os.fsencode(path), header.by_pillow, header.orientation if turn else 1)
        for number, (path, header) in enumerate(zip(paths, headers, strict=True))
        if not header.too_large and not header.refused
    ]
    if not rows:
        return
    columns = tuple(map(list, zip(*rows, strict=True)))
    # Branches cost time for every image, so they are left out where all images take the same one.
    some_by_pillow, some_turned = any(columns[2]), any(value != 1 for value in columns[3])

    def load(number, path, by_pillow, orientation):
        def by_tensorflow():
            return tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)

        image = tf.cond(by_pillow, lambda: _by_pillow(path), by_tensorflow) if some_by_pillow else by_tensorflow()
        image.set_shape((None, None, 3))
        if some_turned:
            turns = [lambda value=value: upright(image, value) for value in range(1, 9)]
            image = tf.switch_case(orientation - 1, turns)
        return number, _prepared(image, size, channels)

    files = tf.data.Dataset.from_tensor_slices(columns)
    images = files.map(load, num_parallel_calls=os.cpu_count() or 1, deterministic=True).ignore_errors()
    yield from without_autotuner(images.batch(batch_size).prefetch(1)).as_numpy_iterator()


def _by_pillow(path: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(lambda name: pillow_pixels(os.fsdecode(name)), [path], tf.uint8)


def turned_note(count: int, turn: bool) -> str | None:
    """Returns a sentence on images with an EXIF orientation; None if there are none or they were turned."""
    if turn or not count:
        return None
    images = "1 image is" if count == 1 else f"{count} images are"
    return f"{images} read as stored, though the EXIF orientation is not upright; --upright turns such images."


def without_autotuner(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's autotuner.

    The autotuner sleeps 10, 20, 40, ... 5120 ms between its checks, and ending a pipeline may wait for the next one.
    The number of parallel calls is fixed here, so there is nothing to tune.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _prepared(image: tf.Tensor, size: tuple[int, int], channels: int, central_fraction: float = 0.875) -> tf.Tensor:
    if channels == 1:  # not every decoder gives one channel
        image = tf.image.rgb_to_grayscale(image)
    middle = tf.image.central_crop(image, central_fraction)
    # TensorFlow's legacy bilinear resizing, whose grid begins at the corner; `tf.image.resize` has another grid. It
    # takes bytes, so a large image is never held as floats; the scale to [0, 1] differs by the rounding only.
    resized = tf.raw_ops.ResizeBilinear(images=middle[None], size=size) / 255
    return tf.ensure_shape(resized[0], (*size, channels))


def _entries(paths: list[str], numbers: range, read: Set[int]) -> tuple[str | Broken, ...]:
    return tuple(paths[n] if n in read else Broken(paths[n], _reason(paths[n])) for n in numbers)


def _reason(path: str) -> str:
    """Why an image cannot be read. The pipeline drops it without a reason, so it is read again."""
    try:
        decode(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}."
    except ValueError as error:
        return str(error)
    return f"{path} could not be prepared."
