"""Many images, read and prepared on all cores while the network computes: one tf.data pipeline."""

import os
from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from converters.images.files import chunks
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
    """

    entries: tuple[str | Broken, ...]
    images: np.ndarray

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the images that were read."""
        return tuple(entry for entry in self.entries if isinstance(entry, str))

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The images that could not be read."""
        return tuple(entry for entry in self.entries if isinstance(entry, Broken))


def image_batches(
    paths: Iterable[str], image_size: int | tuple[int, int], batch_size: int = 32, channels: int = 3
) -> Iterator[Batch]:
    """Reads and prepares images in order, a batch at a time; memory does not grow with their number.

    The pixels are those of `mobilenets.preprocess`, computed by the operations that slim's evaluation called
    (``inception_preprocessing.py: preprocess_for_eval``), within 1e-6.

    Args:
        paths: JPEG, PNG, GIF (first frame) or BMP files.
        image_size: Height and width in pixels; one number stands for both.
        batch_size: The largest number of images in a batch.
        channels: 3 for RGB, 1 for grayscale.

    Yields:
        Batches, whose entries together are the paths.
    """
    size = height_and_width(image_size)
    for chunk in chunks(paths, CHUNK):
        done = 0
        for numbers, images in _dataset(chunk, size, batch_size, channels).as_numpy_iterator():
            yield Batch(_entries(chunk, range(done, numbers[-1] + 1), set(numbers)), images)
            done = numbers[-1] + 1
        if done < len(chunk):
            none = np.empty((0, *size, channels), np.float32)
            yield Batch(_entries(chunk, range(done, len(chunk)), set()), none)


def _dataset(paths: list[str], size: tuple[int, int], batch_size: int, channels: int) -> tf.data.Dataset:
    """Batches of (number in ``paths``, image); an image that cannot be read leaves a gap in the numbers."""

    def load(number, path):
        return number, _prepared(tf.io.read_file(path), size, channels)

    files = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths]).enumerate()
    images = files.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).ignore_errors()
    return images.batch(batch_size).prefetch(1)


def _prepared(
    encoded: tf.Tensor, size: tuple[int, int], channels: int = 3, central_fraction: float = 0.875
) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    if channels == 1:  # not every decoder gives one channel
        image = tf.image.rgb_to_grayscale(image)
    middle = tf.image.central_crop(image, central_fraction)
    pixels = tf.image.convert_image_dtype(middle, tf.float32)
    # TensorFlow's legacy bilinear resizing, whose grid begins at the corner; `tf.image.resize` has another grid.
    resized = tf.raw_ops.ResizeBilinear(images=pixels[None], size=size)
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
