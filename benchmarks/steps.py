"""What a training step consists of, each stage a callable that includes the stages before it."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.subjects import CLASSES, IMAGE_SEED
from examples.datasets import without_autotuner

# A rate so small that thousands of steps on noise leave the weights finite.
LEARNING_RATE = 1e-5


def training_batch(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded images in [0, 1] and labels."""
    rng = np.random.default_rng(IMAGE_SEED)
    images = rng.uniform(size=(batch, size, size, 3)).astype(np.float32)
    return images, rng.integers(CLASSES, size=batch)


def compiled(model: keras.Model) -> keras.Model:
    """With SGD with momentum and the usual loss; weight decay is in the model's own losses.

    Without XLA, in which a step takes ten times as long on processors.
    """
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def stages(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> dict[str, Callable[[], object]]:
    """Forward, backward and update of a compiled model, in TensorFlow functions without Keras's trainer."""
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def total_loss(training):
        logits = model(images, training=training)
        return loss_of(labels, logits) + (tf.add_n(model.losses) if model.losses else 0.0)

    def gradients():
        with tf.GradientTape() as tape:
            loss = total_loss(True)
        return loss, tape.gradient(loss, model.trainable_weights)

    model.optimizer.build(model.trainable_weights)

    @tf.function
    def inference():
        return total_loss(False)

    @tf.function
    def forward():
        return total_loss(True)

    @tf.function
    def backward():
        loss, found = gradients()
        # A sum of every gradient, so that none is optimized away.
        return loss, tf.add_n([tf.reduce_sum(gradient) for gradient in found])

    @tf.function
    def update():
        loss, found = gradients()
        model.optimizer.apply(found)
        return loss

    return {
        "forward, inference": lambda: inference().numpy(),
        "forward, training": lambda: forward().numpy(),
        "forward and backward": lambda: backward()[0].numpy(),
        "whole step": lambda: update().numpy(),
    }


def fit(model: keras.Model, images: tf.Tensor, labels: tf.Tensor, steps: int) -> Callable[[], object]:
    """An epoch of so many steps with Keras's trainer, on the same batch."""
    data = without_autotuner(tf.data.Dataset.from_tensors((images, labels)).repeat(steps))
    return lambda: model.fit(data, epochs=1, verbose=0, shuffle=False)
