"""The range of the images that a whole model takes, from the layers before its first weights."""

import keras
import numpy as np


def input_range(model: keras.Model) -> tuple[float, float]:
    """Returns the lowest and highest value of the images to give a model.

    The first convolution takes values in [-1, 1], as slim's networks do. Every `Rescaling` before it changes the range:
    the network's own, one that the user put in front, and those in a model that is a layer of another.

    Args:
        model: A model whose only input is a batch of images.

    Example:
        >>> input_range(mobilenets.MobileNetV2(1.0))
        (0.0, 1.0)
    """
    scale, offset = _rescaling(model)
    ends = sorted(float(np.mean((end - offset) / scale)) for end in (-1, 1))
    return round(ends[0], 4), round(ends[1], 4)


def _rescaling(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The scale and offset from a model's input to its first layer with weights."""
    scale, offset = np.asarray(1.0), np.asarray(0.0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling):
            inner = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
        elif isinstance(layer, keras.Model):
            inner = _rescaling(layer)
        else:
            inner = np.asarray(1.0), np.asarray(0.0)
        scale, offset = scale * inner[0], offset * inner[0] + inner[1]
        if layer.weights:
            break
    return scale, offset
