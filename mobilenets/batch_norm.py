"""Batch norm as TF1's fused op updates it, and how to change it in a model that is there already."""

from collections.abc import Iterator

import keras
from keras import ops

from mobilenets.options import check_momentum


@keras.saving.register_keras_serializable("mobilenets")
class BesselBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm, but for the moving variance: it takes in the unbiased variance of a batch.

    TF1's fused batch norm, which slim and the hub modules train with, multiplies the variance of the N values of a
    channel by N / (N - 1) (Bessel's correction) before it goes into the moving variance; Keras 3 does not. Outputs and
    gradients are the same. A saved model with this layer loads only where `mobilenets` is imported.
    """

    def call(self, inputs, training=None, mask=None):
        """As `keras.layers.BatchNormalization.call`."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        kept = ops.copy(self.moving_variance) * self.momentum
        outputs = super().call(inputs, training=training, mask=mask)
        count = ops.cast(ops.size(inputs) // ops.shape(inputs)[self.axis], self.moving_variance.dtype)
        # The variance of a single value is 0, and stays so.
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
    """A copy of a functional model, with the same weights and batch norms of another type.

    Use it to train as slim does and to save a model of stock layers afterwards::

        model = mobilenets.with_batch_norm(model, mobilenets.BesselBatchNormalization)      # train this one
        model = mobilenets.with_batch_norm(model, keras.layers.BatchNormalization)          # save this one

    Args:
        model: a functional model of layers (not of models); it is not changed.
        batch_norm: the type of the copy's batch norms.
        momentum: of the copy, in [0, 1); None keeps each layer's.
        input_shape: of the copy, sizes possibly None; None keeps the model's.

    Raises:
        ValueError: if the momentum is out of its range.
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
    copy = keras.models.clone_model(model, input_tensors=inputs, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> None:
    """Changes the momentum of every batch norm of a model, also of one that was loaded or compiled.

    Args:
        model: any Keras model; batch norms of models inside it are changed too.
        momentum: in [0, 1): ``moving = momentum * moving + (1 - momentum) * statistic of the batch``.

    Raises:
        ValueError: if the momentum is out of its range.
    """
    check_momentum(momentum)
    for layer in _layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
    # A training step that was compiled has the old momentum in it; Keras makes a new one where there is none.
    model.train_function = None


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
