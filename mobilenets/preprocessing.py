"""Images as the networks saw them when their accuracy was measured."""

import numpy as np


def preprocess(image: np.ndarray, image_size: int, central_fraction: float = 0.875) -> np.ndarray:
    """Slim's preprocessing for evaluation, in numpy (``inception_preprocessing.py: preprocess_for_eval``).

    The image is cropped to its middle and resized without regard to its aspect. The resizing is TensorFlow's first
    bilinear one, whose grid begins at the corner: a later one, as in ``tf.image.resize``, gives other pixels.

    Args:
        image: uint8 (height, width, 3), RGB.
        image_size: height and width of the result, in pixels.
        central_fraction: of the height and of the width that are kept, in (0, 1].

    Returns:
        Float32 (image_size, image_size, 3) in [0, 1], as models take it with ``rescale_inputs=True``.

    Raises:
        ValueError: if the image or an argument is not as described.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be uint8 (height, width, 3), not {image.dtype} {image.shape}.")
    if not 0 < central_fraction <= 1:
        raise ValueError(f"central_fraction must lie in (0, 1], not {central_fraction!r}.")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size!r}.")
    top, left = (int((size - size * central_fraction) / 2) for size in image.shape[:2])
    middle = image[top : image.shape[0] - top, left : image.shape[1] - left]
    # In float32 throughout, so that the rounding is TensorFlow's too.
    pixels = middle.astype(np.float32) * np.float32(1 / 255)
    columns = _resize(pixels, image_size, axis=1)
    return _resize(columns, image_size, axis=0)


def _resize(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Legacy bilinear along one axis: pixel ``i`` of the result lies at ``i * old / new`` of the source."""
    old = pixels.shape[axis]
    position = np.arange(size, dtype=np.float32) * (np.float32(old) / np.float32(size))
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, old - 1)
    weight = np.expand_dims(position - lower.astype(np.float32), tuple(d for d in range(3) if d != axis))
    below, above = pixels.take(lower, axis), pixels.take(upper, axis)
    return below + (above - below) * weight
