"""The preprocessing with which the published accuracies were measured."""

import numpy as np

CENTRAL_FRACTION = 0.875  # of the height and of the width, in evaluation
# Of the random parts in training: the least share of the area, and the limits of width / height.
SMALLEST_AREA = 0.35
ASPECT_RATIOS = (3 / 4, 4 / 3)


def preprocess(
    image: np.ndarray, image_size: int | tuple[int, int], central_fraction: float = CENTRAL_FRACTION
) -> np.ndarray:
    """Crops and resizes an image as slim's evaluation does (``inception_preprocessing.py: preprocess_for_eval``).

    The central part of the image is resized; the aspect ratio is not kept. The resizing is TensorFlow's
    legacy bilinear one, with the grid aligned to the top left corner. ``tf.image.resize`` gives other pixels.

    Args:
        image: uint8 (height, width, 3), RGB, or (height, width, 1), grayscale.
        image_size: height and width of the result, in pixels; one number stands for both.
        central_fraction: fraction of the height and of the width that is kept, in (0, 1].

    Returns:
        Float32 (height, width, channels) in [0, 1], the input of models with ``rescale_inputs=True``.

    Raises:
        ValueError: if the image or an argument is not as described.

    Example:
        >>> mobilenets.preprocess(np.zeros((480, 640, 3), np.uint8), 224).shape
        (224, 224, 3)
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"image must be uint8 (height, width, 3 or 1), not {image.dtype} {image.shape}.")
    if not 0 < central_fraction <= 1:
        raise ValueError(f"central_fraction must lie in (0, 1], not {central_fraction!r}.")
    height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size!r}.")
    top, left = (int((size - size * central_fraction) / 2) for size in image.shape[:2])
    middle = image[top : image.shape[0] - top, left : image.shape[1] - left]
    return resize(middle, (height, width))


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image to ``(height, width)`` (legacy bilinear); bytes become floats in [0, 1]."""
    height, width = size
    lower, upper, weight = _positions(pixels.shape[0], height)
    # Only the rows that count: of a large image these are few.
    rows, places = np.unique([lower, upper], return_inverse=True)
    columns = _interpolated(pixels[rows], *_positions(pixels.shape[1], width), axis=1)
    lower, upper = places.reshape(2, height)
    return _interpolated(columns, lower, upper, weight, axis=0)


def _positions(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns between which pixels of the source each pixel of the result is, and how far from the first of the two.

    Legacy bilinear: pixel ``i`` is at ``i * old / new``. All computation is in float32, to round as TensorFlow does.
    """
    position = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
    lower = np.floor(position).astype(np.int64)
    return lower, np.minimum(lower + 1, old - 1), position - lower.astype(np.float32)


def _interpolated(
    pixels: np.ndarray, lower: np.ndarray, upper: np.ndarray, weight: np.ndarray, *, axis: int
) -> np.ndarray:
    """Resizes one axis."""
    weight = np.expand_dims(weight, tuple(d for d in range(3) if d != axis))
    below, result = _floats(pixels.take(lower, axis)), _floats(pixels.take(upper, axis))
    # In place: below + (above - below) * weight.
    result -= below
    result *= weight
    result += below
    return result


def _floats(pixels: np.ndarray) -> np.ndarray:
    # Only the pixels that are used: a large image is never kept as floats.
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32) if pixels.dtype == np.uint8 else pixels
