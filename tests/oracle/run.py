"""Runs the original networks: graphs and sessions, that share a process with eager Keras."""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from .networks import network
from .recipes import loss_weights
from .slim import slim, tf


@functools.lru_cache(maxsize=128)
def variable_shapes(
    family: str,
    depth_multiplier: float,
    *,
    num_classes: int | None = 1001,
    output_stride: int | None = None,
    finegrain: bool | None = None,
    variant: str = "large",
) -> Mapping[str, tuple[int, ...]]:
    """`{slim name: shape}` of every variable of a network, in the order slim creates them."""
    with tf.Graph().as_default():
        network(
            family,
            tf.placeholder(tf.float32, (1, 64, 64, 3)),
            depth_multiplier=depth_multiplier,
            num_classes=num_classes,
            output_stride=output_stride,
            finegrain=finegrain,
            variant=variant,
        )
        return MappingProxyType({v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()})


def new_session() -> tf.Session:
    """A session on the default graph that runs it as it was written: rewriting it costs more than a single run."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(config=config)


def load(session: tf.Session, variables: Iterable[tf.Variable], values: Mapping[str, np.ndarray]) -> None:
    """Initialises every variable with the value of its name, cast to its type."""
    variables = list(variables)
    # The second input of an assignment is the value it assigns.
    feeds = {
        v.initializer.inputs[1]: np.asarray(values[v.op.name], v.dtype.base_dtype.as_numpy_dtype) for v in variables
    }
    session.run([v.initializer for v in variables], feeds)


def to_slim_range(images: np.ndarray, dtype: str) -> np.ndarray:
    """Images in [0, 1] as slim takes them, in [-1, 1]; computed in the type of the run."""
    return images.astype(dtype) * 2 - 1


def run(
    family: str,
    variables: Mapping[str, np.ndarray],
    images: np.ndarray,
    *,
    depth_multiplier: float,
    num_classes: int | None = 1001,
    output_stride: int | None = None,
    first_stride: int | None = None,
    finegrain: bool | None = None,
    variant: str = "large",
    dtype: str = "float32",
) -> dict[str, np.ndarray]:
    """Every endpoint of a network in inference mode.

    Args:
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        variables: `{slim name: array}`; what the network does not have is left aside.
        images: `(batch, height, width, 3)` in [0, 1].
        depth_multiplier: As in `network`, and so are the next five.
        num_classes: See there.
        output_stride: See there.
        first_stride: See there.
        finegrain: See there.
        variant: See there.
        dtype: "float32" (fused batch norm, as slim has it) or "float64".

    Returns:
        `{endpoint: array}`, the names as slim has them: "layer_1", "Conv2d_0", "global_pool", "Logits" ...
    """
    with tf.Graph().as_default(), new_session() as session:
        placeholder = tf.placeholder(dtype, images.shape)
        _, endpoints = network(
            family,
            placeholder,
            depth_multiplier=depth_multiplier,
            num_classes=num_classes,
            output_stride=output_stride,
            first_stride=first_stride,
            finegrain=finegrain,
            variant=variant,
        )
        load(session, tf.global_variables(), variables)
        return session.run(endpoints, {placeholder: to_slim_range(images, dtype)})


class TrainingStep(NamedTuple):
    """What one step in training mode computes. `loss` is without the regularization loss, as are the gradients."""

    endpoints: dict[str, np.ndarray]
    loss: np.ndarray
    regularization_loss: np.ndarray
    gradients: dict[str, np.ndarray]
    moving: dict[str, np.ndarray]

    @property
    def logits(self) -> np.ndarray:
        """`(batch, num_classes)`."""
        return self.endpoints["Logits"]


def train_step(
    family: str,
    variables: Mapping[str, np.ndarray],
    images: np.ndarray,
    *,
    depth_multiplier: float,
    num_classes: int = 1001,
    finegrain: bool | None = None,
    variant: str = "large",
    batch_norm_decay: float = 0.99,
    weight_decay: float = 4e-5,
    dropout_keep_prob: float = 1.0,
    dtype: str = "float32",
) -> TrainingStep:
    """One forward and backward pass in training mode, and the moving statistics after it.

    The loss is `sum(logits * loss_weights(num_classes, batch)) / num_classes`, as in the golden training cases. In
    float32 batch norm is fused, so the moving variance takes in the Bessel-corrected N / (N - 1) one; in float64 it is
    not, and takes in the biased one.

    Args:
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        variables: `{slim name: array}` before the step.
        images: `(batch, height, width, 3)` in [0, 1].
        depth_multiplier: As in `network`, and so are the next six.
        num_classes: See there.
        finegrain: See there.
        variant: See there.
        batch_norm_decay: See there.
        weight_decay: See there.
        dropout_keep_prob: See there.
        dtype: "float32" or "float64".

    Returns:
        Endpoints, both losses, `{trainable: gradient of the loss}` and `{moving statistic: value after the update}`.
    """
    with tf.Graph().as_default(), new_session() as session:
        placeholder = tf.placeholder(dtype, images.shape)
        logits, endpoints = network(
            family,
            placeholder,
            depth_multiplier=depth_multiplier,
            num_classes=num_classes,
            is_training=True,
            finegrain=finegrain,
            variant=variant,
            batch_norm_decay=batch_norm_decay,
            weight_decay=weight_decay,
            dropout_keep_prob=dropout_keep_prob,
        )
        loss = tf.reduce_sum(logits * loss_weights(num_classes, len(images)).astype(dtype)) / num_classes
        trainables = {v.op.name: v for v in tf.trainable_variables()}
        gradients = dict(zip(trainables, tf.gradients(loss, list(trainables.values())), strict=True))
        moving = {v.op.name: v for v in slim.get_model_variables() if v.op.name not in trainables}
        load(session, tf.global_variables(), variables)
        computed = session.run(
            (
                endpoints,
                loss,
                tf.losses.get_regularization_loss(),
                gradients,
                tf.get_collection(tf.GraphKeys.UPDATE_OPS),
            ),
            {placeholder: to_slim_range(images, dtype)},
        )
        return TrainingStep(*computed[:4], moving=session.run(moving))
