"""Photographs from disk, prepared as slim's evaluation does it."""

import os
import pathlib
from collections.abc import Iterable

import numpy as np

import mobilenets
from converters.image_sizes import height_and_width
from converters.images.exact_pixels import exact_pixels
from converters.images.headers import DECODED, Header, pillow_pixels, read_header
from converters.images.reasons import too_large, unreadable
from converters.tensorflow_extra import has_tensorflow
from converters.versions import version_of


def decoder() -> str:
    """Returns what decodes JPEG, PNG, GIF, BMP and WebP files: TensorFlow, or where it is not installed Pillow.

    TensorFlow decodes JPEG files with a fast inverse transform and Pillow with the accurate one. The pixels differ by
    up to 19 of 255, on average by less than 1.
    """
    name = "TensorFlow" if has_tensorflow() else "Pillow"
    return f"{name} {version_of(name.lower())}"


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


def decode(path: str | pathlib.Path, channels: int = 3, header: Header | None = None) -> np.ndarray:
    """Returns one image as uint8 ``(height, width, channels)``, channels 3 (RGB) or 1 (grayscale).

    Args:
        path: The file.
        channels: 3 or 1.
        header: What the file's beginning states, where it is known already.

    Raises:
        ValueError: The file is not such an image, or has too many pixels.
        OSError: The file cannot be read.
    """
    name = os.fspath(path)
    header = header or read_header(name)
    if header.refused:
        raise ValueError(header.refused)
    if header.too_large:
        raise ValueError(too_large(path, header))
    if header.by_pillow:
        pixels = pillow_pixels(name)
    elif has_tensorflow():
        # Where both give the same pixels, not by TensorFlow, which takes seconds to import.
        exact = exact_pixels(name, header)
        pixels = _by_tensorflow(path) if exact is None else exact
    else:
        pixels = _by_pillow(path, header)
    return pixels if channels == 3 else grayscale(pixels)


def _by_tensorflow(path: str | pathlib.Path) -> np.ndarray:
    import tensorflow as tf

    encoded = pathlib.Path(path).read_bytes()
    try:
        # Not `.numpy()`, which copies.
        return np.asarray(tf.io.decode_image(encoded, channels=3, expand_animations=False))
    except tf.errors.OpError as error:
        raise ValueError(unreadable(path, encoded)) from error


def _by_pillow(path: str | pathlib.Path, header: Header) -> np.ndarray:
    encoded = pathlib.Path(path).read_bytes()
    if header.format not in DECODED:
        raise ValueError(unreadable(path, encoded))
    try:
        return pillow_pixels(os.fspath(path))
    except ValueError as error:
        raise ValueError(unreadable(path, encoded)) from error


def grayscale(pixels: np.ndarray) -> np.ndarray:
    """Returns uint8 RGB as uint8 ``(height, width, 1)``, by the weights and the rounding of TensorFlow."""
    weights = np.array([0.2989, 0.587, 0.114], np.float32)
    return ((pixels.astype(np.float32) * np.float32(1 / 255)) @ weights * np.float32(255.5)).astype(np.uint8)[..., None]
