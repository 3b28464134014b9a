"""TF-Slim on today's TensorFlow: the one place that makes `tf_slim` usable.

tf-slim 1.1.0 asks TensorFlow for its old layer classes, TensorFlow asks `tf_keras.legacy_tf_layers` for them, and the
published wheels of tf_keras keep them one package further down (https://github.com/keras-team/tf-keras, keras#18839).
The alias has to exist before the first layer is made. Everything here is TensorFlow 1 style, so `tf` is its v1 surface.
"""

import importlib
import importlib.util
import sys

import tensorflow.compat.v1 as tf

PROMISED, ACTUAL = "tf_keras.legacy_tf_layers", "tf_keras.src.legacy_tf_layers"

if importlib.util.find_spec(PROMISED) is None:
    for module in ("", ".base", ".convolutional", ".core", ".normalization", ".pooling"):
        sys.modules[PROMISED + module] = importlib.import_module(ACTUAL + module)

import tf_slim as slim  # noqa: E402

__all__ = ["slim", "tf"]
