"""The range of pixel values that a model takes, and the warning about images in another range."""

import warnings

import keras
import numpy as np


class ImageRangeWarning(UserWarning):
    """Images are in another range than the model takes, most likely [0, 255] instead of [0, 1].

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", mobilenets.ImageRangeWarning)  # makes it an error
        >>> warnings.simplefilter("default", mobilenets.ImageRangeWarning)
    """


def image_range(model: keras.Model) -> tuple[float, float]:
    """Returns the lowest and the highest pixel value that a model takes.

    The networks compute with [-1, 1]. The `Rescaling` layers before the first layer with weights give the range of the
    images: (0, 1) for the networks as built, (-1, 1) with ``rescale_inputs=False``, and (0, 255) with another
    ``Rescaling(1 / 255)`` in front. Inner models are searched too.

    Example:
        >>> mobilenets.image_range(mobilenets.MobileNetV1(0.25))
        (0.0, 1.0)
    """
    scale, offset = 1.0, 0.0
    for layer in _first_layers(model):
        if isinstance(layer, keras.layers.Rescaling):
            if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
                raise ValueError(f"{layer.name!r} rescales each channel differently, so there is no single range.")
            scale, offset = scale * float(layer.scale), offset * float(layer.scale) + float(layer.offset)
    # Rounded, because 1 / 255 is not exact.
    low, high = (round((end - offset) / scale, 4) + 0.0 for end in (-1, 1))
    return low, high


def check_image_range(images: np.ndarray, model: keras.Model | None = None, stacklevel: int = 2) -> None:
    """Warns if images are far outside the range of a model.

    Args:
        images: an array of images, as they are passed on.
        model: the model that takes them; None for the range [0, 1].
        stacklevel: as for `warnings.warn`.

    Example:
        >>> mobilenets.check_image_range(np.full((1, 32, 32, 3), 0.5), model)  # no warning; with 255.0 there is one
    """
    low, high = (0.0, 1.0) if model is None else image_range(model)
    largest = float(np.max(images)) if np.size(images) else low
    if largest > high + 2 * (high - low):
        warnings.warn(
            f"The largest value of the images is {largest:g}, but the model takes images in [{low:g}, {high:g}]. "
            "Use mobilenets.image_pipeline(model), or divide by 255 for [0, 1].",
            ImageRangeWarning,
            stacklevel=stacklevel + 1,
        )


def _first_layers(model: keras.Model):
    """Yields the layers up to the first one with weights, in the order of the model."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _first_layers(layer)
            if layer.weights:
                return
        elif layer.weights:
            return
        else:
            yield layer
