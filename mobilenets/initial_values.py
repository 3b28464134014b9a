"""Slim's initial values, drawn faster than Keras draws them.

The backend's truncated normal takes most of the time in which a network is built. NumPy draws the same distribution in
half of it; the layer keeps its stock initializer, which is what its configuration and its clones have.
"""

import keras
import numpy as np
from keras import KerasTensor

KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")


def build_and_call(layer: keras.layers.Layer, x: KerasTensor) -> KerasTensor:
    """Calls a new layer, whose kernels get values from the distributions of its initializers."""
    stock = {name: vars(layer)[name] for name in KERNEL_INITIALIZERS if name in vars(layer)}
    for name, initializer in stock.items():
        setattr(layer, name, _Drawn(initializer))
    y = layer(x)
    for name, initializer in stock.items():
        setattr(layer, name, initializer)
    return y


class _Drawn(keras.initializers.Initializer):
    """Draws for a truncated normal, or for a variance scaling by fan-in that is one.

    Args:
        initializer: a `keras.initializers.TruncatedNormal` or `VarianceScaling`, whose seed is taken too.
    """

    def __init__(self, initializer: keras.initializers.Initializer):
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
        rng = np.random.Generator(np.random.SFC64(self.initializer.seed))  # NumPy's fastest
        values = rng.standard_normal(int(np.prod(shape)), np.float32)
        # What is beyond two deviations is drawn again.
        beyond = np.flatnonzero(np.abs(values) > 2)
        while beyond.size:
            values[beyond] = again = rng.standard_normal(beyond.size, np.float32)
            beyond = beyond[np.abs(again) > 2]
        values *= self._deviation(shape)
        return keras.ops.convert_to_tensor(values.reshape(shape), dtype)

    def _deviation(self, shape):
        if isinstance(self.initializer, keras.initializers.TruncatedNormal):
            return self.initializer.stddev
        # As Keras has it: 0.8796 is the deviation of what is left of a normal that is cut off at two.
        return np.sqrt(self.initializer.scale / np.prod(shape[:-1])) / 0.87962566103423978
