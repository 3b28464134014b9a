"""What a Keras model gives at its endpoints, in the type and mode in which it is to be compared."""

from collections.abc import Callable, Mapping

import keras
import numpy as np

import mobilenets

Arrays = dict[str, np.ndarray]


def endpoint_function(model: keras.Model, dtype: str, training: bool = False) -> Callable[[np.ndarray], Arrays]:
    """A function from images in [0, 1] to every endpoint of ``model``, computed in ``dtype``.

    A model that takes [-1, 1] is given them. In training mode the moving statistics of ``model`` are updated, unless
    it computes in another type: then those of a copy.
    """
    if any(layer.compute_dtype != dtype for layer in model.layers):
        model = with_dtype(model, dtype)
    taps = keras.Model(model.input, mobilenets.endpoints(model))
    unit_range = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)

    def run(images: np.ndarray) -> Arrays:
        images = images.astype(dtype)
        outputs = taps(images if unit_range else 2 * images - 1, training=training)
        return {name: keras.ops.convert_to_numpy(output) for name, output in outputs.items()}

    return run


def with_dtype(model: keras.Model, dtype: str) -> keras.Model:
    """A copy of ``model`` with the same weights that computes in ``dtype``, from its inputs on."""

    def retyped(config):
        if isinstance(config, Mapping):
            return {key: dtype if key == "dtype" else retyped(value) for key, value in config.items()}
        return [retyped(value) for value in config] if isinstance(config, list | tuple) else config

    copy = type(model).from_config(retyped(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy
