"""Writes what a slim training run leaves on disk: checkpoints with all their companions, and frozen graphs."""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow

from .networks import network
from .recipes import made_up_images, made_up_variables
from .run import load, new_session
from .slim import slim, tf

FORMATS = {1: tf.train.SaverDef.V1, 2: tf.train.SaverDef.V2}

OPTIMIZERS = {
    # The values of slim's train_image_classifier.py, whose own default is RMSProp.
    "rmsprop": lambda: tf.train.RMSPropOptimizer(0.01, decay=0.9, momentum=0.9, epsilon=1.0),
    "momentum": lambda: tf.train.MomentumOptimizer(0.01, momentum=0.9),
    "adam": lambda: tf.train.AdamOptimizer(0.01, epsilon=1.0),
    "adagrad": lambda: tf.train.AdagradOptimizer(0.01),
    "sgd": lambda: tf.train.GradientDescentOptimizer(0.01),
}


def write_checkpoint(
    prefix: str | pathlib.Path,
    family: str,
    depth_multiplier: float,
    *,
    version: int = 2,
    averages: bool = True,
    average_moving: bool = False,
    optimizer: str = "rmsprop",
    num_classes: int = 1001,
    image_size: int = 64,
    seed: int = 0,
    shards: int = 1,
    meta_graph: bool = False,
    variant: str = "large",
) -> dict[str, np.ndarray]:
    """Trains a slim network for one step and saves everything, as slim's trainer does.

    Starts from made-up variables, so that the network computes something; the step makes the averages differ from the
    variables (but for V2's projection betas, whose gradient is zero), the slots from zero and the global step 1.

    Args:
        prefix: Where the checkpoint goes; V1 format is one file of this very name.
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        depth_multiplier: Factor of all widths.
        version: Format of the checkpoint, 1 or 2.
        averages: Whether an exponential moving average is kept of every trainable variable.
        average_moving: Whether one is kept of the moving statistics too, as slim's `train_image_classifier.py` does.
        optimizer: "rmsprop", "momentum", "adam", "adagrad", or "sgd", which has no slots.
        num_classes: Classes of the logits.
        image_size: Height and width of the training images; no variable depends on it.
        seed: Of the variables, the images and the labels.
        shards: Data files of a V2 checkpoint.
        meta_graph: Whether `prefix.meta` is written too.
        variant: As in `network`.

    Returns:
        `{name: array}` of everything the checkpoint holds.
    """
    prefix = str(prefix)
    with tf.Graph().as_default(), new_session() as session:
        tf.set_random_seed(seed)
        global_step = tf.train.get_or_create_global_step()
        images = 2 * made_up_images(image_size, image_size, batch=4, seed=seed) - 1
        labels = np.random.default_rng(seed).integers(num_classes, size=len(images))
        logits, _ = network(
            family,
            tf.constant(images),
            depth_multiplier=depth_multiplier,
            num_classes=num_classes,
            is_training=True,
            variant=variant,
        )
        tf.losses.sparse_softmax_cross_entropy(labels, logits)
        model_variables = slim.get_model_variables()

        step = OPTIMIZERS[optimizer]().minimize(tf.losses.get_total_loss(), global_step)
        with tf.control_dependencies([step, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]):
            averaged = model_variables if average_moving else tf.trainable_variables()
            average = tf.train.ExponentialMovingAverage(0.999, global_step)
            train_op = average.apply(averaged) if averages else tf.no_op()

        shapes = {v.op.name: tuple(v.shape.as_list()) for v in model_variables}
        load(session, model_variables, made_up_variables(shapes, seed))
        # Averages start at the value of their variable, hence after it.
        companions = [v for v in tf.global_variables() if v.op.name not in shapes]
        session.run([v.initializer for v in companions])
        session.run(train_op)

        values = session.run({v.op.name: v for v in tf.global_variables()})
        if shards == 1:
            saver = tf.train.Saver(write_version=FORMATS[version])
            saver.save(session, prefix, write_meta_graph=meta_graph, write_state=False)
    if shards > 1:
        _write_shards(prefix, values, shards)
    return values


def _write_shards(prefix: str, values: Mapping[str, np.ndarray], shards: int) -> None:
    """Writes a V2 checkpoint in several data files, as a saver does whose variables live on several devices."""
    names = sorted(values)
    parts = [f"{prefix}_temp/part-{index:05d}-of-{shards:05d}" for index in range(shards)]
    for index, part in enumerate(parts):
        chosen = names[index::shards]
        tensorflow.raw_ops.SaveV2(
            prefix=part,
            tensor_names=chosen,
            shape_and_slices=[""] * len(chosen),
            tensors=[values[name] for name in chosen],
        )
    tensorflow.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)


def freeze(
    path: str | pathlib.Path,
    family: str,
    variables: Mapping[str, np.ndarray],
    *,
    depth_multiplier: float,
    image_size: int | tuple[int, int] | None,
    num_classes: int | None = 1001,
    finegrain: bool | None = None,
    batch: int | None = None,
    dtype: str = "float32",
    variant: str = "large",
) -> None:
    """Writes the inference graph with its variables as constants, as the published `*_frozen.pb` files have them.

    Args:
        path: The file to write.
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        variables: `{slim name: array}`.
        depth_multiplier: Factor of all widths.
        image_size: Size of the placeholder `input`, which takes images in [-1, 1]; a number, (height, width), or
            None for any size (not for MobileNet V2, whose pooling needs to know).
        num_classes: Classes of the logits; None ends the graph at the pooled features.
        finegrain: As in `network`.
        batch: Images at a time; None: any number.
        dtype: "float32" (fused batch norm) or "float64".
        variant: As in `network`.
    """
    height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    with tf.Graph().as_default() as graph, new_session() as session:
        # Old-style variables, whose constants are read by "<name>/read" as in the published files.
        tf.get_variable_scope().set_use_resource(False)
        _, endpoints = network(
            family,
            tf.placeholder(dtype, (batch, height, width, 3), name="input"),
            depth_multiplier=depth_multiplier,
            num_classes=num_classes,
            finegrain=finegrain,
            variant=variant,
        )
        load(session, tf.global_variables(), variables)
        last = endpoints["global_pool" if num_classes is None else "Predictions"]
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [last.op.name])
    pathlib.Path(path).write_bytes(frozen.SerializeToString())
