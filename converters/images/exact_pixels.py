"""Files decoded without TensorFlow, where the pixels are TensorFlow's to the last bit."""

import importlib.util
import pathlib
from collections.abc import Iterable

import numpy as np

import mobilenets
from converters.images.headers import Header, pillow_pixels, read_header, upright

# Pillow's other types of JPEG files (CMYK) are converted to RGB in another way.
_JPEG_MODES = ("L", "RGB")
# Of larger ones Pillow takes too much memory: 11 bytes per pixel, and TensorFlow 3.
_MOST_PNG_PIXELS = 20_000_000
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def exact_pixels(path: str, header: Header) -> np.ndarray | None:
    """Returns an image as TensorFlow decodes it, uint8 ``(height, width, 3)``; None where that is not certain.

    TensorFlow and slim decode JPEG files with libjpeg's fast inverse transform, which Pillow does not offer: its pixels
    differ by up to 19 of 255. simplejpeg offers it.
    """
    try:
        if header.too_large:
            return None
        if _is_for_pillow(header):
            return pillow_pixels(path)
        if _is_jpeg(header):
            import simplejpeg

            return simplejpeg.decode_jpeg(pathlib.Path(path).read_bytes(), fastdct=True)
    except (ValueError, OSError):
        return None
    return None


def exact_images(paths: Iterable[str], size: tuple[int, int], turn: bool) -> tuple[np.ndarray, int] | None:
    """Reads and prepares images as `converters.images.pipeline.image_batches` does, all in memory.

    Returns:
        Float32 ``(count, height, width, 3)`` in [0, 1], and the number of images whose EXIF orientation is not upright;
        None if the pixels of one image are not certain to be the same, or it cannot be read.
    """
    images, turned = [], 0
    for path in paths:
        header = read_header(path)
        pixels = exact_pixels(path, header)
        if pixels is None or 0 in pixels.shape:
            return None
        turned += header.orientation != 1
        images.append(mobilenets.preprocess(upright(pixels, header.orientation if turn else 1), size))
    return (np.stack(images), turned) if images else None


def is_exact(path: str) -> bool:
    """Returns whether a file looks like one that `exact_pixels` reads."""
    header = read_header(path)
    return _is_for_pillow(header) or _is_jpeg(header)


def _is_for_pillow(header: Header) -> bool:
    png = header.format == "PNG" and header.mode in _PNG_MODES and header.pixels <= _MOST_PNG_PIXELS
    return header.by_pillow or png


def _is_jpeg(header: Header) -> bool:
    decoder = importlib.util.find_spec("simplejpeg")
    return decoder is not None and header.format in ("JPEG", "MPO") and header.mode in _JPEG_MODES
