"""The endpoints of a Keras model as arrays, in a dtype and a mode."""

from collections.abc import Callable, Mapping

import keras
import numpy as np

import mobilenets
from mobilenets.blocks import rescales_inputs
from mobilenets.random_values import without_random_values

Arrays = dict[str, np.ndarray]


def own_outputs(model: keras.Model) -> Callable[[np.ndarray], Arrays]:
    """Returns a function from images in [0, 1] to every endpoint of ``model`` as it is: its own dtypes and backend."""
    return endpoints_as_built(model, model.inputs[0].dtype)


def endpoints_as_built(model: keras.Model, dtype: str, training: bool = False) -> Callable[[np.ndarray], Arrays]:
    """Returns a function from images in [0, 1], passed on in ``dtype``, to every endpoint of ``model`` itself.

    A model that takes [-1, 1] gets the images in that range. In training mode its moving statistics are updated.
    """
    endpoints = keras.Model(model.input, mobilenets.endpoints(model))
    unit_range = rescales_inputs(model)

    def run(images: np.ndarray) -> Arrays:
        images = images.astype(dtype)
        outputs = endpoints(images if unit_range else 2 * images - 1, training=training)
        return {name: _array(output) for name, output in outputs.items()}

    return run


def _array(output) -> np.ndarray:
    """Returns an output as NumPy knows it: bfloat16, which NumPy has not, as float32."""
    array = np.asarray(keras.ops.convert_to_numpy(output))
    return array.astype(np.float32) if array.dtype.kind not in "f" else array


def in_dtype(model: keras.Model, dtype: str) -> keras.Model:
    """Returns ``model`` itself where it computes in ``dtype``, or else a copy that does."""
    return model if all(layer.compute_dtype == dtype for layer in model.layers) else with_dtype(model, dtype)


def with_dtype(model: keras.Model, dtype: str) -> keras.Model:
    """Returns a copy of ``model`` with the same weights that computes in ``dtype``, from its inputs on."""

    def retyped(config):
        if isinstance(config, Mapping):
            return {key: dtype if key == "dtype" else retyped(value) for key, value in config.items()}
        return [retyped(value) for value in config] if isinstance(config, list | tuple) else config

    with without_random_values():
        copy = type(model).from_config(retyped(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy
