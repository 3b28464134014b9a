"""TensorFlow's fused batch norm op as a Keras layer: what slim and the hub modules compute, kernel for kernel."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("converters")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch norm by ``FusedBatchNormV3`` in training mode, on the TensorFlow backend and in float32.

    Keras computes the same mean and variance in several ops. In training mode their rounding shows: with the real
    MobileNet V2 weights, a module's moving statistics are up to 2e-3 away from exact ones, and another order of
    operations from those of the module. With its own op they are the same. It also hands out the unbiased variance.
    """

    def call(self, inputs, training=None, mask=None):
        """As `keras.layers.BatchNormalization.call`."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        ones = tf.ones_like(self.moving_mean)
        outputs, *statistics = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma if self.scale else ones, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, statistic in zip((self.moving_mean, self.moving_variance), statistics, strict=True):
            moving.assign(moving * self.momentum + statistic * (1.0 - self.momentum))
        return outputs
