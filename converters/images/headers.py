"""What an image file states before its pixels: format, size and orientation; and the formats that Pillow decodes."""

import contextlib
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image
from PIL import features

import checkpoints

MAX_PIXELS = 200_000_000
"""Larger images are refused, and those that are read at once have no more pixels together: about 1.2 GB, as an image
takes up to 6 bytes per pixel while it is read."""
MAX_FILE_BYTES = 6 * MAX_PIXELS
"""Larger files are refused, as no image of `MAX_PIXELS` needs them."""

DECODED = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP")
"""Pillow's names of the formats that TensorFlow decodes, or where it is not installed Pillow. MPO is a JPEG file."""
_PILLOW_FORMATS = ("TIFF", "AVIF", "HEIF")
_lock = threading.Lock()


class Header(NamedTuple):
    """What the beginning of a file states.

    Attributes:
        format: Pillow's name of the format, such as "JPEG"; None if Pillow does not know it.
        width: Number of columns, as stored; 0 if not known.
        height: Number of rows, as stored; 0 if not known.
        orientation: The EXIF orientation, 1 to 8. 1 is upright.
        mode: Pillow's name of the pixels' type, such as "RGB".
        refused: Why the file is not read at all, as a sentence; None if it is.
    """

    format: str | None = None
    width: int = 0
    height: int = 0
    orientation: int = 1
    mode: str = ""
    refused: str | None = None

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow decodes the file, not TensorFlow."""
        return self.format in _PILLOW_FORMATS

    @property
    def pixels(self) -> int:
        """Number of pixels; 0 if not known."""
        return self.width * self.height

    @property
    def too_large(self) -> bool:
        """Whether the image has more than `MAX_PIXELS`."""
        return self.pixels > MAX_PIXELS


class Row(NamedTuple):
    """An image of a job.

    Attributes:
        number: Its place among the paths.
        path: The file.
        header: What its beginning states.
        orientation: The EXIF orientation by which it is turned, 1 to 8. 1 leaves it as it is.
    """

    number: int
    path: str
    header: Header
    orientation: int


def pillow_suffixes() -> tuple[str, ...]:
    """Returns the suffixes of the files that Pillow decodes here."""
    avif = (".avif",) if features.check("avif") else ()
    heif = (".heic", ".heif") if importlib.util.find_spec("pillow_heif") else ()
    return (".tif", ".tiff", *avif, *heif)


def read_header(path: str) -> Header:
    """Returns the header of a file; an empty one if it cannot be read."""
    if why := _refused(path):
        return Header(refused=why)
    try:
        with warnings.catch_warnings(), _opened(path) as image:
            warnings.simplefilter("ignore")  # Of damaged EXIF data.
            # A PNG image without the tag would be decoded to search for it.
            tagged = "exif" in image.info or image.format == "TIFF"
            orientation = image.getexif().get(0x0112, 1) if tagged else 1
            width, height = image.size
            turned = orientation if orientation in range(1, 9) else 1
            return Header(image.format, width, height, turned, image.mode)
    except Exception:  # Pillow's formats raise errors of many types. The decoder gives the reason.
        return Header()


def _refused(path: str) -> str | None:
    if "\0" in path:  # which TensorFlow would take for the end of the path
        return f"{path} cannot be read: a path has no zero byte."
    try:
        checkpoints.check_regular(path)
        size = os.stat(path).st_size
    except checkpoints.CheckpointError as error:
        return str(error)
    except OSError:
        return None  # what opens the file says why it cannot be read
    if size > MAX_FILE_BYTES:
        return f"{path} is too large: {size:,} bytes. At most {MAX_FILE_BYTES:,} are read."
    return None


def pillow_pixels(path: str) -> np.ndarray:
    """Decodes a file with Pillow.

    Returns:
        uint8 ``(height, width, 3)``, as stored; an alpha channel is cut off.

    Raises:
        ValueError: The file cannot be decoded.
    """
    try:
        with _opened(path) as image:
            if image.mode.startswith("I;16"):
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except Exception as error:
        raise ValueError(f"{path} is not an image that can be read: {error}.") from error


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an array ``(height, width, ...)``, or a tensor, as its EXIF orientation states."""
    if orientation >= 5:
        axes = (1, 0, *range(2, len(pixels.shape)))
        pixels = pixels.transpose(axes) if isinstance(pixels, np.ndarray) else _transposed(pixels, axes)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return pixels[rows, columns]


def _transposed(pixels, axes):
    import tensorflow as tf

    return tf.transpose(pixels, axes)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[PIL.Image.Image]:
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    # Pillow refuses images that are too large without their size. The limit is a global variable.
    with _lock:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(path)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image
