"""Photographs from disk, prepared as slim's evaluation does it."""

import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

import mobilenets


def load_images(paths: Iterable[str | pathlib.Path], image_size: int) -> np.ndarray:
    """Reads and prepares images.

    Args:
        paths: JPEG, PNG, GIF (first frame) or BMP files.
        image_size: height and width of the result.

    Returns:
        float32 ``(count, image_size, image_size, 3)`` in [0, 1].

    Raises:
        ValueError: a file is no such image.
        OSError: a file cannot be read.
    """
    return np.stack([mobilenets.preprocess(decode(path), image_size) for path in paths])


def decode(path: str | pathlib.Path) -> np.ndarray:
    """One image as uint8 ``(height, width, 3)``.

    Raises:
        ValueError: the file is no JPEG, PNG, GIF or BMP image.
        OSError: the file cannot be read.
    """
    encoded = pathlib.Path(path).read_bytes()
    try:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        raise ValueError(f"{path} is not an image that can be read (JPEG, PNG, GIF or BMP).") from error
