"""Height and width of the images that a model is given: one rule for every command."""

from typing import TYPE_CHECKING

import mobilenets
from converters.errors import ConversionError
from converters.text import shape_text

if TYPE_CHECKING:
    import keras

DEFAULT_IMAGE_SIZE = 224
"""Height and width where neither the model nor its manifest gives one."""


def image_size_of(
    model: "keras.Model",
    info: mobilenets.ModelInfo | None = None,
    wanted: int | tuple[int, int] | None = None,
    name: str = "The model",
) -> tuple[int, int]:
    """Returns the height and width of the images to give a model.

    Args:
        model: A model whose only input is a batch of images. Where it fixes height or width, that size is used.
        info: The published model that it was converted from. Where the model takes any size, the size of its training
            images is used, or `DEFAULT_IMAGE_SIZE` if the published model is not known.
        wanted: The size that the user chooses; one number stands for both. By default the rule above.
        name: The model as messages name it.

    Raises:
        ConversionError: The model does not take a batch of images, or not of the size ``wanted``.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ConversionError(f"{name} takes {shape}, not images (count, height, width, channels).")
    trained = info.image_size if info else DEFAULT_IMAGE_SIZE
    takes = shape[1:3]
    size = (takes[0] or trained, takes[1] or trained) if wanted is None else height_and_width(wanted)
    if any(side not in (None, length) for side, length in zip(takes, size, strict=True)):
        raise ConversionError(f"{name} takes images of {shape_text(takes)} pixels, not of {shape_text(size)}.")
    return size


def height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns ``(height, width)``; one number stands for both."""
    return size if isinstance(size, tuple) else (size, size)
