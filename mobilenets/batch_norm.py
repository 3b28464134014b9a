"""Batch norm as TF1's fused operation updates it, and changes to the batch norms of an existing model."""

import gc

import keras
from keras import ops

from mobilenets.nesting import all_layers
from mobilenets.options import check_momentum
from mobilenets.random_values import without_random_values


@keras.saving.register_keras_serializable("mobilenets")
class BesselBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm with the unbiased variance of a batch in the moving variance.

    TF1's fused batch norm, which slim and the hub modules train with, multiplies the variance of the N values of a
    channel by N / (N - 1) (Bessel's correction) before it updates the moving variance; Keras 3 does not. Outputs and
    gradients are the same. A saved model with this layer loads only if `mobilenets` is imported.

    Example:
        >>> model = mobilenets.MobileNetV1(0.25, bessel_correction=True)
        >>> type(model.get_layer("MobilenetV1__Conv2d_0__BatchNorm")).__name__
        'BesselBatchNormalization'
    """

    def call(self, inputs, training=None, mask=None):
        """Normalizes `inputs`; see `keras.layers.BatchNormalization.call`."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        kept = ops.copy(self.moving_variance) * self.momentum
        outputs = super().call(inputs, training=training, mask=mask)
        count = ops.cast(ops.size(inputs) // ops.shape(inputs)[self.axis], self.moving_variance.dtype)
        # The variance of a single value is 0 with or without the correction.
        correction = count / ops.maximum(count - 1, 1)
        self.moving_variance.assign(kept + (self.moving_variance - kept) * correction)
        return outputs


def with_batch_norm(
    model: keras.Model,
    batch_norm: type[keras.layers.BatchNormalization],
    *,
    momentum: float | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Returns a copy of a functional model with the same weights and another type of batch norm.

    Use it to train as slim does and to save a model of stock layers afterwards.

    Args:
        model: a functional model of layers (not of models); it is not changed.
        batch_norm: type of the batch norms in the copy.
        momentum: momentum of the batch norms in the copy, in [0, 1); None keeps each layer's own.
        input_shape: input shape of the copy, sizes possibly None; None keeps the model's.

    Returns:
        A new model, not compiled.

    Raises:
        ValueError: if the momentum is out of range.

    Example:
        >>> trained = mobilenets.with_batch_norm(model, mobilenets.BesselBatchNormalization)  # train this one
        >>> saved = mobilenets.with_batch_norm(trained, keras.layers.BatchNormalization)  # save this one
    """
    changes = {}
    if momentum is not None:
        check_momentum(momentum)
        changes["momentum"] = momentum

    def copied(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return batch_norm.from_config({**layer.get_config(), **changes})
        return type(layer).from_config(layer.get_config())

    images = model.inputs[0]
    inputs = keras.Input(input_shape or images.shape[1:], dtype=images.dtype, name=images.name)
    with without_random_values():
        copy = keras.models.clone_model(model, input_tensors=inputs, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> None:
    """Changes the momentum of every batch norm of a model, also of a loaded or compiled one.

    The model may be a layer of another, compiled model: that model's training step is made again too.

    Args:
        model: any Keras model; batch norms of models inside it are changed too.
        momentum: in [0, 1): ``moving = momentum * moving + (1 - momentum) * statistic of the batch``.

    Raises:
        ValueError: if the momentum is out of range.

    Example:
        >>> mobilenets.set_batch_norm_momentum(model, 0.9)
    """
    check_momentum(momentum)
    changed = {id(layer): layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)}
    for layer in changed.values():
        layer.momentum = momentum
    # A compiled training step contains the old momentum; Keras makes a new one when it is None. A layer does not know
    # the models that it is part of, so all living models are searched.
    for other in [model, *_living_models()]:
        if other is model or any(id(layer) in changed for layer in all_layers(other)):
            other.train_function = None


def _living_models() -> list[keras.Model]:
    # `type` instead of `isinstance`: the latter would wake lazy proxies.
    models = [thing for thing in gc.get_objects() if issubclass(type(thing), keras.Model)]
    return [model for model in models if getattr(model, "train_function", None) is not None]
