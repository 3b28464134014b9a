"""Images as a model takes them: for arrays, for ``tf.data``, and as layers of the model itself."""

import math
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mobilenets.nesting import Copies, flat
from mobilenets.pixel_range import image_range
from mobilenets.preprocessing import ASPECT_RATIOS, CENTRAL_FRACTION, SMALLEST_AREA, preprocess, resize
from mobilenets.published import ModelInfo, get_model_info
from mobilenets.random_values import without_random_values


def image_pipeline(
    model: keras.Model | ModelInfo | str,
    training: bool = False,
    *,
    image_size: int | tuple[int, int] | None = None,
    seed: int | None = None,
) -> Callable[..., Any]:
    """Returns the preprocessing of a model as a function of images, for arrays and for ``tf.data``.

    For evaluation the pixels are those of `preprocess`: slim's central crop and its bilinear resize. For training a
    random part of the image (35 to 100 % of its area, aspect ratio 3/4 to 4/3) is resized in the same way and mirrored
    half of the time. slim's training also draws smaller parts and changes colours.

    Args:
        model: a model, or a published model (its info, name or handle), which takes images in [0, 1].
        training: whether images are cropped and mirrored at random.
        image_size: height and width of the result; one number stands for both. Required for a model that takes any
            size.
        seed: seed of the random crops of arrays; ``tf.data`` uses ``tf.random.set_seed``.

    Returns:
        A function from uint8 images or from floats in [0, 255], one ``(height, width, 3)`` or a batch of them, to
        float32 images of the size and range of the model. Further arguments, such as labels, are returned unchanged:
        ``dataset.map(pipeline)`` works for pairs of images and labels.

    Raises:
        ValueError: if the size is not known, or an image is not as described.

    Example:
        >>> pipeline = mobilenets.image_pipeline("mobilenet_v2_035_96")
        >>> pipeline(np.zeros((480, 640, 3), np.uint8)).shape
        (96, 96, 3)
    """
    if isinstance(model, keras.Model):
        low, high = image_range(model)
        takes = flat(model).input_shape[1:3]
    else:
        info = model if isinstance(model, ModelInfo) else get_model_info(model)
        low, high = 0.0, 1.0
        takes = info.image_size, info.image_size
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size or takes)
    if None in size:
        raise ValueError("The model takes images of any size; pass image_size=, such as the size it was trained at.")
    random = np.random.default_rng(seed)

    def pipeline(images: Any, *others: Any) -> Any:
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None and tensorflow.is_tensor(images):
            from mobilenets import pipelines_tf

            prepared = pipelines_tf.prepared(images, size, training)
        else:
            prepared = _prepared(np.asarray(images), size, random if training else None)
        if (low, high) != (0.0, 1.0):
            prepared = prepared * (high - low) + low
        return (prepared, *others) if others else prepared

    return pipeline


def _prepared(images: np.ndarray, size: tuple[int, int], random: np.random.Generator | None) -> np.ndarray:
    if images.ndim == 4:
        return np.stack([_prepared(image, size, random) for image in images])
    if images.ndim != 3 or images.shape[2] != 3:
        raise ValueError(f"Images must be (height, width, 3) or a batch of these, not {images.shape}.")
    if np.issubdtype(images.dtype, np.floating):
        if (images.size and images.min() < 0) or images.max() > 255:
            raise ValueError(f"Float images must be in [0, 255]; these reach {images.min():g} and {images.max():g}.")
    elif images.dtype != np.uint8:
        raise ValueError(f"Images must be uint8, or floats in [0, 255], not {images.dtype}.")
    if random is None and images.dtype == np.uint8:
        return preprocess(images, size, CENTRAL_FRACTION)
    part = _middle(images) if random is None else _random_part(images, random)
    pixels = part.astype(np.float32) * np.float32(1 / 255)
    pixels = resize(pixels, size)
    return pixels[:, ::-1] if random is not None and random.random() < 0.5 else pixels


def _middle(image: np.ndarray) -> np.ndarray:
    top, left = (int((length - length * CENTRAL_FRACTION) / 2) for length in image.shape[:2])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def _random_part(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows, columns = image.shape[:2]
    area = random.uniform(SMALLEST_AREA, 1) * rows * columns
    ratio = math.exp(random.uniform(*np.log(ASPECT_RATIOS)))
    height = min(rows, max(1, round(math.sqrt(area / ratio))))
    width = min(columns, max(1, round(math.sqrt(area * ratio))))
    top, left = random.integers(rows - height + 1), random.integers(columns - width + 1)
    return image[top : top + height, left : left + width]


def include_preprocessing(model: keras.Model) -> keras.Model:
    """Returns a copy of a model with its preprocessing in it: images of any size, uint8 or floats in [0, 255].

    The layers are stock layers, so the saved model needs no package but Keras: `Resizing` to the size of the network
    divided by 0.875, `CenterCrop`, and `Rescaling`. They keep the same central part as slim, but `Resizing` places the
    pixels' centers at half positions, and slim's resize places them at whole ones, so pixels differ a little from those
    of `preprocess`. `converters.predict` and the other commands leave these layers out and use slim's own resize.

    Args:
        model: a model that takes images of a fixed size; it is not changed.

    Raises:
        ValueError: if the model takes images of any size.

    Example:
        >>> served = mobilenets.include_preprocessing(mobilenets.build("mobilenet_v2_035_96"))
        >>> served(np.zeros((1, 480, 640, 3), np.uint8)).shape
        TensorShape([1, 1001])
    """
    low, high = image_range(model)
    network = flat(model)
    size = network.input_shape[1:3]
    if None in size:
        raise ValueError("Preprocessing needs a size to resize to, but the model takes any: set input_shape=.")
    images = keras.Input((None, None, network.input_shape[3]), name="pixels")
    resize_pixels = keras.layers.Resizing(*(round(side / CENTRAL_FRACTION) for side in size), name="resize_pixels")
    # These layers default to training=True, which Keras passes on to all layers after them when the model is called
    # without `training`: the batch norms would use the statistics of the batch.
    resized = resize_pixels(images, training=False)
    prepared = keras.layers.CenterCrop(*size, name="crop_pixels")(resized, training=False)
    if (low, high) != (0.0, 255.0):
        prepared = keras.layers.Rescaling((high - low) / 255, low, name="rescale_pixels")(prepared)
    copies = Copies()
    with without_random_values():
        served = keras.Model(images, copies.run(network, prepared), name=model.name)
    copies.set_weights()
    return served
