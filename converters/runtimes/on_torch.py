"""A model as a function of arrays, on Keras's PyTorch backend: layer by layer, without recording gradients."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch


def own_layers(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns the model's own layers as a function, which follows later changes of the weights."""
    (images,) = model.inputs

    def infer(batch: np.ndarray) -> Any:
        with torch.inference_mode():
            outputs = model(keras.ops.convert_to_tensor(batch, images.dtype), training=False)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return infer


constants = own_layers
