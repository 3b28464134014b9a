"""Sessions that run a reference graph as its file has it."""

import tensorflow as tf


def as_it_stands() -> tf.compat.v1.ConfigProto:
    """Returns a session's configuration under which no op is changed, folded or reordered.

    TensorFlow's optimizers would fold batch norm into the convolutions: another order of rounding, up to 2e-4 of an
    endpoint's largest value away with the real MobileNet V1 weights, where channels of tiny variance amplify it.
    """
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    return config
