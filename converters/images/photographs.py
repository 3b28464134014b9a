"""Photographs from disk, prepared as slim's evaluation does it."""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

import mobilenets
from converters.images.headers import pillow_pixels, read_header
from converters.images.reasons import too_large, unreadable
from converters.images.sizes import height_and_width


def load_images(
    paths: Iterable[str | pathlib.Path], image_size: int | tuple[int, int], channels: int = 3
) -> np.ndarray:
    """Reads and prepares images, all in memory.

    Args:
        paths: One or more JPEG, PNG, GIF (first frame), BMP or WebP files, or others that Pillow decodes (TIFF, AVIF,
            HEIC).
        image_size: Height and width of the result; one number stands for both.
        channels: 3 for RGB, 1 for grayscale.

    Returns:
        Float32 ``(count, height, width, channels)`` in [0, 1].

    Raises:
        ValueError: A file is not such an image.
        OSError: A file cannot be read.
    """
    size = height_and_width(image_size)
    return np.stack([mobilenets.preprocess(decode(path, channels), size) for path in paths])


def decode(path: str | pathlib.Path, channels: int = 3) -> np.ndarray:
    """Returns one image as uint8 ``(height, width, channels)``, channels 3 (RGB) or 1 (grayscale).

    Raises:
        ValueError: The file is not such an image, or has too many pixels.
        OSError: The file cannot be read.
    """
    header = read_header(os.fspath(path))
    if header.refused:
        raise ValueError(header.refused)
    encoded = pathlib.Path(path).read_bytes()
    if header.too_large:
        raise ValueError(too_large(path, header))
    if header.by_pillow:
        return pillow_pixels(os.fspath(path))
    try:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        # Not every decoder gives one channel.
        return (image if channels == 3 else tf.image.rgb_to_grayscale(image)).numpy()
    except tf.errors.OpError as error:
        raise ValueError(unreadable(path, encoded)) from error
