"""The shortest way from images to outputs, in the runtime that is fastest and exact enough."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mobilenets
from converters.runtimes.choice import Inference, check_runtime, converted_inference


def inference_function(
    model: keras.Model,
    runtime: str = "auto",
    threads: int | None = None,
    *,
    fused: bool = True,
    images: np.ndarray | None = None,
) -> Inference:
    """Returns a function from images to a model's outputs, for one image after another and for batches alike.

    ``model.predict`` builds a data pipeline for every call, and ``model(images)`` runs each layer from Python: for a
    single image both take ten times as long as its computation, which is all that is done here.

    "auto" takes the fastest runtime that is installed and exact enough. The outputs of a converted network are first
    compared with the exact model by the rule of `converters.verify`. A runtime that is not installed, fails or differs
    is replaced by "tensorflow", with a note. Converted networks are kept in the cache folder.

    In "tensorflow" the fused weights are constants of the graph, which TensorFlow lays out for its kernels once. XLA
    (``jit_compile=True``) does not help: on CPU it makes these networks ten times as slow and slower.

    Args:
        model: a functional or sequential model with one input.
        runtime: "auto", "keras" (the model's own layers, traced once), "tensorflow", "litert", "onnx" or "openvino".
        threads: number of threads of "litert", "onnx" and "openvino"; by default that of the cores.
        fused: whether batch norms are folded first (`mobilenets.fuse`). The function then has weights of its own.
            False means "keras": the function follows later changes of the model's weights.
        images: a few images as the model takes them, to compare the runtime on; seeded noise by default.

    Returns:
        A function from an array ``(count, height, width, 3)``, as the model takes it, to its outputs as arrays. Counts
        may differ from call to call. Its attributes ``runtime``, ``error``, ``bound``, ``from_keras`` and ``notes`` say
        which runtime computes and how exact it is.

    Raises:
        ValueError: the runtime is unknown, or the model cannot be fused.

    Example:
        >>> infer = converters.inference_function(model)
        >>> infer.runtime
        'litert'
    """
    check_runtime(runtime, threads)
    notes: tuple[str, ...] = ()
    if runtime == "keras" or not fused:
        return Inference(_traced(model, lambda batch: model(batch, training=False)), "keras")
    if runtime != "tensorflow":
        converted, notes = converted_inference(model, runtime, threads, images)
        if converted:
            return converted
        notes = (*notes, "The runtime is tensorflow.")
    return Inference(_traced(model, _with_constants(mobilenets.fuse(model))), "tensorflow", notes=notes)


def _traced(model: keras.Model, call: Callable[[tf.Tensor], Any]) -> Callable[[np.ndarray], Any]:
    (images,) = model.inputs
    spec = tf.TensorSpec(images.shape, images.dtype)
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
