"""A model as a function of arrays, on Keras's JAX backend: compiled once for each number and size of images."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

Weights = tuple[list[jax.Array], list[jax.Array]]


def own_layers(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns the model's own layers as a function, which follows later changes of the weights."""
    return _compiled(model, lambda: _weights(model))


def constants(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns a function of a model with the weights that it has now."""
    weights = _weights(model)
    return _compiled(model, lambda: weights)


def _weights(model: keras.Model) -> Weights:
    trainable, others = (
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    return trainable, others


def _compiled(model: keras.Model, weights: Callable[[], Weights]) -> Callable[[np.ndarray], Any]:
    (images,) = model.inputs

    @jax.jit
    def call(trainable, others, batch):
        outputs, _ = model.stateless_call(trainable, others, batch, training=False)
        return outputs

    def infer(batch: np.ndarray) -> Any:
        return jax.tree.map(np.array, call(*weights(), keras.ops.convert_to_tensor(batch, images.dtype)))

    return infer
