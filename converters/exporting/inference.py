"""The shortest way from images to outputs in TensorFlow."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mobilenets


def inference_function(model: keras.Model, *, fused: bool = True) -> Callable[[np.ndarray], Any]:
    """A function from images to a model's outputs, traced once, for one image after another and for batches alike.

    ``model.predict`` builds a data pipeline for every call, and ``model(images)`` runs each layer from Python: for a
    single image both take ten times as long as its computation, which is all that is done here. Keras's own
    ``predict_on_batch`` of a fused model is nearly as fast once it was traced for two sizes of batches: here the fused
    weights are constants of the graph, so that TensorFlow lays them out for its kernels once instead of in every call.
    XLA (``jit_compile=True``) does not help: on CPU it makes these networks ten times as slow and slower.

    Args:
        model: a functional or sequential model with one input.
        fused: whether batch norms are folded first (`mobilenets.fuse`). The function then has weights of its own;
            without, it follows what becomes of the model's.

    Returns:
        A function from an array ``(count, height, width, 3)``, as the model takes it, to its outputs as arrays. Counts
        may differ from call to call; memory grows with them, and little time is gained above 32.

    Raises:
        ValueError: if the model cannot be fused.
    """
    (images,) = model.inputs
    spec = tf.TensorSpec(images.shape, images.dtype)
    call = _with_constants(mobilenets.fuse(model)) if fused else lambda batch: model(batch, training=False)
    outputs = tf.function(call, input_signature=[spec], autograph=False)
    outputs.get_concrete_function()

    def infer(batch: np.ndarray) -> Any:
        mobilenets.check_image_range(batch, model)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), outputs(tf.constant(batch, images.dtype)))

    return infer


def _with_constants(model: keras.Model) -> Callable[[tf.Tensor], Any]:
    """The call of a model whose weights are, in a graph that is traced of it, constants."""
    trainable = [weight.numpy() for weight in model.trainable_variables]
    others = [weight.numpy() for weight in model.non_trainable_variables]

    def call(batch):
        weights = [[tf.constant(value) for value in values] for values in (trainable, others)]
        outputs, _ = model.stateless_call(*weights, batch, training=False)
        return outputs

    return call
