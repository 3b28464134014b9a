"""Height and width of the images that a model is given: one rule for every command."""

import keras

import mobilenets
from converters.errors import ConversionError

DEFAULT_IMAGE_SIZE = 224
"""Height and width where neither the model nor its manifest gives one."""


def image_size_of(model: keras.Model, info: mobilenets.ModelInfo | None = None) -> tuple[int, int]:
    """Returns the height and width of the images to give a model.

    Args:
        model: A model whose only input is a batch of images. Where it fixes height or width, that size is used.
        info: The published model that it was converted from. Where the model takes any size, the size of its training
            images is used, or `DEFAULT_IMAGE_SIZE` if the published model is not known.

    Raises:
        ConversionError: The model does not take a batch of images.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ConversionError(f"The model takes {shape}, not images (count, height, width, channels).")
    trained = info.image_size if info else DEFAULT_IMAGE_SIZE
    return shape[1] or trained, shape[2] or trained


def height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns ``(height, width)``; one number stands for both."""
    return size if isinstance(size, tuple) else (size, size)
