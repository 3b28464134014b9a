"""A dataset that ends on time."""

import tensorflow as tf


def without_autotuner(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's autotuner.

    The autotuner sleeps 10, 20, 40, ... 5120 ms between its checks, and the end of an epoch may wait for the next one.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
