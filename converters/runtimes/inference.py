"""The shortest way from images to outputs, in the runtime that is fastest and exact enough."""

import importlib
from dataclasses import replace
from typing import Any

import keras
import numpy as np

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
    is replaced by Keras's backend, with a note. Converted networks are kept in the cache folder.

    In "tensorflow" the fused weights are constants of the graph, which TensorFlow lays out for its kernels once. XLA
    (``jit_compile=True``) does not help there: on CPU it makes these networks ten times as slow and slower. "jax" is
    compiled for each new shape of the images, and "torch" runs in inference mode.

    Args:
        model: a functional or sequential model with one input.
        runtime: "auto", "keras" (the model's own layers, traced once), the backend of Keras ("tensorflow", "jax" or
            "torch": the fused model there), or "litert", "onnx" or "openvino" (on the TensorFlow backend).
        threads: number of threads of "litert", "onnx" and "openvino"; by default that of the cores.
        fused: whether batch norms are folded first (`mobilenets.fuse`). The function then has weights of its own.
            False means "keras": the function follows later changes of the model's weights.
        images: a few images as the model takes them, to compare the runtime on; seeded noise by default.

    Returns:
        A function from an array ``(count, height, width, 3)``, as the model takes it, to its outputs as arrays. Counts
        may differ from call to call. Its attributes ``runtime``, ``error``, ``bound``, ``from_keras`` and ``notes`` say
        which runtime computes and how exact it is.

    Raises:
        ValueError: the runtime is unknown or another backend than that of Keras, or the model cannot be fused.

    Example:
        >>> infer = converters.inference_function(model)
        >>> infer.runtime
        'litert'
    """
    check_runtime(runtime, threads)
    backend = keras.backend.backend()
    functions = importlib.import_module(f"converters.runtimes.on_{backend}")
    if runtime == "keras" or not fused:
        return _checked(model, Inference(functions.own_layers(model), "keras"))
    notes: tuple[str, ...] = ()
    if runtime != backend:
        converted, notes = converted_inference(model, runtime, threads, images)
        if converted:
            return converted
        notes = (*notes, f"The runtime is {backend}.")
    return _checked(model, Inference(functions.constants(mobilenets.fuse(model)), backend, notes=notes))


def _checked(model: keras.Model, inference: Inference) -> Inference:
    """Returns the same function, which warns of images outside of the model's range."""

    def run(images: np.ndarray) -> Any:
        mobilenets.check_image_range(images, model)
        return inference.run(images)

    return replace(inference, run=run)
