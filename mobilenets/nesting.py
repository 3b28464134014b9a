"""Models that contain models, such as a network in a `keras.Sequential` with another head, as one flat model."""

import functools
from collections.abc import Iterator
from typing import Any

import keras

from mobilenets.random_values import without_random_values

PREPARATION = (keras.layers.Resizing, keras.layers.CenterCrop)
"""Layers that bring images of any size to the size of the network."""


def is_nested(model: keras.Model) -> bool:
    """Returns whether a layer of the model is a model."""
    return any(isinstance(layer, keras.Model) for layer in model.layers)


def is_prepared(model: keras.Model) -> bool:
    """Returns whether the model resizes or crops its images itself."""
    return any(isinstance(layer, PREPARATION) for layer in model.layers)


def flat(model: keras.Model) -> keras.Model:
    """Returns a copy of a model with the layers of its inner models in place of these, and with the same weights.

    Layers that only resize or crop the images are left out, so the copy takes images of the network's own size.

    Args:
        model: a functional or sequential model with one input, inner models included; it is not changed.

    Raises:
        ValueError: if a part of the model is neither functional nor sequential, or two layers have the same name.

    Example:
        >>> features = mobilenets.MobileNetV1(0.25, head="feature_vector")
        >>> classifier = keras.Sequential([features, keras.layers.Dense(5)])
        >>> "MobilenetV1/global_pool" in mobilenets.endpoints(mobilenets.flat(classifier))
        True
    """
    copies = Copies()
    size = _prepared_shape(model)
    image = model.inputs[0]
    inputs = keras.Input(size or image.shape[1:], dtype=image.dtype, name=image.name.split(":")[0])
    with without_random_values():
        copy = keras.Model(inputs, copies.run(model, inputs), name=model.name)
    copies.set_weights()
    return copy


class Copies:
    """One copy of each layer, also of a layer that is called more than once."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[keras.Layer, keras.Layer]] = {}

    def run(self, model: keras.Model, inputs: Any) -> Any:
        """Calls copies of the layers of a model, and returns its outputs."""
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self._call(layer, inputs)
            return inputs
        if not hasattr(model, "operations"):
            raise ValueError(f"The model {model.name!r} is neither functional nor sequential, so it cannot be opened.")
        # There is no public way: `keras.models.clone_model` uses this method too, but ends in a model of its own, and
        # `model.call` adds a second call to every layer, whose `output` is then ambiguous.
        return model._run_through_graph(inputs, operation_fn=lambda layer: functools.partial(self._call, layer))

    def _call(self, layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, (keras.layers.InputLayer, *PREPARATION)):
            return args[0]
        if isinstance(layer, keras.Model):
            return self.run(layer, args[0])
        if not isinstance(layer, keras.Layer):  # an operation such as an addition has no weights
            return layer(*args, **kwargs)
        if id(layer) not in self._pairs:
            self._pairs[id(layer)] = layer, type(layer).from_config(layer.get_config())
        return self._pairs[id(layer)][1](*args, **kwargs)

    def set_weights(self) -> None:
        """Gives the copies the weights of the originals."""
        for layer, copy in self._pairs.values():
            copy.set_weights(layer.get_weights())


def _prepared_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """Returns the shape of an image after the last layer that resizes or crops; None without such a layer."""
    sizes = [layer for layer in all_layers(model) if isinstance(layer, PREPARATION)]
    return (sizes[-1].height, sizes[-1].width, model.input_shape[-1]) if sizes else None


def all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yields the layers of a model, with those of its inner models in place of these."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer
