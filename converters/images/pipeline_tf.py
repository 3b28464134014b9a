"""Images read and prepared by TensorFlow, as slim's evaluation did it: one tf.data pipeline."""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from converters.images.headers import Row, pillow_pixels, upright


def prepared(
    rows: list[Row], size: tuple[int, int], batch_size: int, channels: int, parallel: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of (numbers of the rows, images); rows that cannot be read are left out."""
    columns = tuple(map(list, zip(*((row.number, os.fsencode(row.path), *row[2:]) for row in rows), strict=True)))
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
    images = files.map(load, num_parallel_calls=parallel, deterministic=True).ignore_errors()
    yield from without_autotuner(images.batch(batch_size).prefetch(1)).as_numpy_iterator()


def _by_pillow(path: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(lambda name: pillow_pixels(os.fsdecode(name)), [path], tf.uint8)


def without_autotuner(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's autotuner.

    The autotuner sleeps 10, 20, 40, ... 5120 ms between its checks, and ending a pipeline may wait for the next one.
    The number of parallel calls is fixed here, so there is nothing to tune.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _prepared(image: tf.Tensor, size: tuple[int, int], channels: int, central_fraction: float = 0.875) -> tf.Tensor:
    middle = tf.image.central_crop(image, central_fraction)
    if channels == 1:  # not every decoder gives one channel
        middle = tf.image.rgb_to_grayscale(middle)
    # TensorFlow's legacy bilinear resizing, whose grid begins at the corner; `tf.image.resize` has another grid. It
    # takes bytes, so a large image is never held as floats; the scale to [0, 1] differs by the rounding only.
    resized = tf.raw_ops.ResizeBilinear(images=middle[None], size=size) / 255
    return tf.ensure_shape(resized[0], (*size, channels))
