"""A model as a function of arrays, on Keras's TensorFlow backend: a traced function."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def own_layers(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns the model's own layers as a function, which follows later changes of the weights."""
    return _traced(model, lambda batch: model(batch, training=False))


def constants(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns a function of a model whose weights are constants: TensorFlow lays them out for its kernels once."""
    trainable = [weight.numpy() for weight in model.trainable_variables]
    others = [weight.numpy() for weight in model.non_trainable_variables]

    def call(batch):
        weights = [[tf.constant(value) for value in values] for values in (trainable, others)]
        outputs, _ = model.stateless_call(*weights, batch, training=False)
        return outputs

    return _traced(model, call)


def _traced(model: keras.Model, call: Callable[[tf.Tensor], Any]) -> Callable[[np.ndarray], Any]:
    (images,) = model.inputs
    spec = tf.TensorSpec(images.shape, images.dtype)
    outputs = tf.function(call, input_signature=[spec], autograph=False)
    outputs.get_concrete_function()

    def infer(batch: np.ndarray) -> Any:
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), outputs(tf.constant(batch, images.dtype)))

    return infer
