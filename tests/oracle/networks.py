"""The original networks, written with TF-Slim's own layers: what every conversion is compared with.

Scopes, operation names, endpoints, defaults and arg scopes are those of `research/slim/nets` (`mobilenet_v1.py`,
`mobilenet/mobilenet_v2.py` and `mobilenet_v3.py` with `mobilenet.py` and `conv_blocks.py`, `inception_v2.py` with
`inception_utils.py`).
Nothing of the library is imported here, so that a mistake in one is not repeated in the other.
Pooling before the logits is global in all, as in the hub modules (slim's `global_pool=True`).
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest import mock

import numpy as np
from tf_slim.nets import inception_v2 as slim_inception

from .slim import slim, tf

BATCH_NORM_EPSILON = 0.001


class Defaults(NamedTuple):
    """What a family's own arg scope sets where the caller says nothing."""

    scope: str
    batch_norm_decay: float
    dropout_keep_prob: float


FAMILIES = {
    "mobilenet_v1": Defaults("MobilenetV1", 0.9997, 0.999),
    "mobilenet_v2": Defaults("MobilenetV2", 0.997, 0.8),
    "mobilenet_v3": Defaults("MobilenetV3", 0.997, 0.8),
    "inception_v2": Defaults("InceptionV2", 0.9997, 0.8),
}


@contextlib.contextmanager
def _compared_by_identity() -> Iterator[None]:
    """Compares tensors and variables by identity, as TensorFlow 1 did.

    In a graph TensorFlow 2 does the same, but first finds out at each comparison whether it is in one, which takes a
    third of the time of making a network.
    """
    tf.disable_tensor_equality()
    try:
        yield
    finally:
        tf.enable_tensor_equality()


@_compared_by_identity()
def network(
    family: str,
    images: tf.Tensor,
    *,
    depth_multiplier: float,
    num_classes: int | None = 1001,
    is_training: bool = False,
    output_stride: int | None = None,
    first_stride: int | None = None,
    finegrain: bool | None = None,
    batch_norm_decay: float | tf.Tensor | None = None,
    weight_decay: float = 4e-5,
    dropout_keep_prob: float | None = None,
    variant: str = "large",
) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
    """Adds a network to the default graph, its variables under their slim names.

    Args:
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        images: `(batch, height, width, 3)`, float32 or float64, values in [-1, 1]. MobileNet V2 needs static sizes.
        depth_multiplier: Factor of all widths, above 0.
        num_classes: Classes of the logits; None ends the network at the pooled features.
        is_training: Batch statistics and dropout, or moving statistics and none.
        output_stride: Stops the striding there and dilates instead (MobileNets only); ends at the last feature map.
        first_stride: Stride of the first convolution; None: that of the tables, 2 in slim's own code.
        finegrain: `finegrain_classification_mode` of MobileNet V2 and V3: multipliers below 1 leave the last layer
            alone. None: yes, as in every published model.
        batch_norm_decay: Of the moving statistics; None: the family's own.
        weight_decay: L2 strength on the weights of plain convolutions.
        dropout_keep_prob: None: the family's own.
        variant: Of MobileNet V3: "large" or "small", or either with "_minimalistic".

    Returns:
        The logits `(batch, num_classes)`, or None where the network ends earlier, and the endpoints by slim's names.
    """
    defaults = FAMILIES[family]
    batch_norm = {
        "decay": defaults.batch_norm_decay if batch_norm_decay is None else batch_norm_decay,
        "epsilon": BATCH_NORM_EPSILON,
        "scale": family != "inception_v2",
        "is_training": is_training,
        # slim fuses wherever it can; the fused kernel knows no float64.
        "fused": images.dtype != tf.float64,
    }
    dropout = {
        "keep_prob": defaults.dropout_keep_prob if dropout_keep_prob is None else dropout_keep_prob,
        "is_training": is_training,
    }
    regularizer = slim.l2_regularizer(weight_decay)
    with (
        warnings.catch_warnings(),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        slim.arg_scope([slim.dropout], **dropout),
    ):
        # tf-slim calls the old layers the old way, once per layer.
        warnings.filterwarnings("ignore", message="`layer.apply` is deprecated")
        if family == "mobilenet_v1":
            with _mobilenet_arg_scope(regularizer):
                return _mobilenet_v1(images, depth_multiplier, num_classes, output_stride, first_stride)
        if family == "mobilenet_v2":
            last_multiplier = 1 if finegrain is not False and depth_multiplier < 1 else depth_multiplier
            with _mobilenet_arg_scope(regularizer):
                return _mobilenet_v2(
                    images, depth_multiplier, last_multiplier, num_classes, output_stride, first_stride
                )
        if family == "mobilenet_v3":
            last_multiplier = 1 if finegrain is not False and depth_multiplier < 1 else depth_multiplier
            with _mobilenet_arg_scope(regularizer):
                return _mobilenet_v3(
                    images, depth_multiplier, last_multiplier, num_classes, output_stride, first_stride, variant
                )
        with _inception_arg_scope(regularizer):
            return _inception_v2(images, depth_multiplier, num_classes, first_stride)


@contextlib.contextmanager
def _mobilenet_arg_scope(regularizer: Callable):
    # `mobilenet_v1_arg_scope` and V2's `training_scope` agree here: depthwise kernels carry no L2 term.
    with (
        slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            weights_initializer=tf.truncated_normal_initializer(stddev=0.09),
            activation_fn=tf.nn.relu6,
            normalizer_fn=slim.batch_norm,
            padding="SAME",
        ),
        slim.arg_scope([slim.conv2d], weights_regularizer=regularizer),
    ):
        yield


@contextlib.contextmanager
def _inception_arg_scope(regularizer: Callable):
    # `inception_utils.inception_arg_scope` names slim.conv2d alone: the separable stem gets neither batch norm nor L2.
    with slim.arg_scope(
        [slim.conv2d],
        weights_initializer=slim.variance_scaling_initializer(),
        weights_regularizer=regularizer,
        activation_fn=tf.nn.relu,
        normalizer_fn=slim.batch_norm,
    ):
        yield


def _strides_and_rates(nominal_strides, output_stride):
    """The stride and the dilation of each layer: once the output stride is reached, later strides turn into dilation.

    A layer whose stride is taken away still runs at the old rate; only those after it dilate (`mobilenet_base`).
    """
    current_stride, rate = 1, 1
    for stride in nominal_strides:
        if output_stride is not None and current_stride == output_stride:
            yield 1, rate
            rate *= stride
        else:
            yield stride, 1
            current_stride *= stride


# --- MobileNet V1 (arXiv:1704.04861, table 1): (stride, width) of Conv2d_0 and of the 13 separable blocks ---

V1_ROWS = (
    (2, 32),
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
)


def _mobilenet_v1(images, depth_multiplier, num_classes, output_stride, first_stride):
    endpoints = {}
    with tf.variable_scope("MobilenetV1") as scope:
        # slim's `mobilenet_v1_base` enters the scope a second time, hence its "MobilenetV1/MobilenetV1/Conv2d_0/Relu6".
        with tf.variable_scope(scope):
            net = images
            plan = _strides_and_rates(
                [first_stride or V1_ROWS[0][0], *(stride for stride, _ in V1_ROWS[1:])], output_stride
            )
            for index, ((_, width), (stride, rate)) in enumerate(zip(V1_ROWS, plan, strict=True)):
                depth = max(int(width * depth_multiplier), 8)
                name = f"Conv2d_{index}"
                if index == 0:
                    net = endpoints[name] = slim.conv2d(net, depth, 3, stride=stride, scope=name)
                else:
                    depthwise, pointwise = name + "_depthwise", name + "_pointwise"
                    net = endpoints[depthwise] = slim.separable_conv2d(
                        net, None, 3, depth_multiplier=1, stride=stride, rate=rate, scope=depthwise
                    )
                    net = endpoints[pointwise] = slim.conv2d(net, depth, 1, scope=pointwise)
        if output_stride is not None:
            return None, endpoints
        return _logits_of_v1_and_inception(net, num_classes, endpoints)


def _logits_of_v1_and_inception(net, num_classes, endpoints):
    with tf.variable_scope("Logits"):
        net = endpoints["global_pool"] = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
        if num_classes is None:
            return None, endpoints
        net = slim.dropout(net, scope="Dropout_1b")
        logits = slim.conv2d(net, num_classes, 1, activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
        logits = endpoints["Logits"] = tf.squeeze(logits, [1, 2], name="SpatialSqueeze")
    endpoints["Predictions"] = slim.softmax(logits, scope="Predictions")
    return logits, endpoints


# --- MobileNet V2 (arXiv:1801.04381, table 2): (stride, width) of the 17 inverted residual blocks ---

V2_ROWS = (
    (1, 16),
    (2, 24),
    (1, 24),
    (2, 32),
    (1, 32),
    (1, 32),
    (2, 64),
    (1, 64),
    (1, 64),
    (1, 64),
    (1, 96),
    (1, 96),
    (1, 96),
    (2, 160),
    (1, 160),
    (1, 160),
    (1, 320),
)


def _make_divisible(value: float, divisor: int = 8, minimum: int = 8) -> int:
    """The multiple of `divisor` that is nearest to `value`, never more than a tenth below it (`mobilenet.py`)."""
    rounded = max(minimum, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _mobilenet_v2(images, depth_multiplier, last_multiplier, num_classes, output_stride, first_stride):
    blocks, inner = {}, {}
    with tf.variable_scope("MobilenetV2"):
        net = tf.identity(images, "input")
        plan = _strides_and_rates([first_stride or 2, *(stride for stride, _ in V2_ROWS), 1], output_stride)
        stride, rate = next(plan)
        first = _make_divisible(32 * depth_multiplier)
        net = blocks["layer_1"] = slim.conv2d(net, first, 3, stride=stride, rate=rate, scope="Conv")
        for index, ((_, width), (stride, rate)) in enumerate(zip(V2_ROWS, plan, strict=False)):
            scope = f"expanded_conv_{index}" if index else "expanded_conv"
            expansion = 6 if index else 1
            taps = _inverted_residual(net, _make_divisible(width * depth_multiplier), expansion, stride, rate, scope)
            net = blocks[f"layer_{index + 2}"] = taps["output"]
            inner.update({f"layer_{index + 2}/{name}": tensor for name, tensor in taps.items()})
        # slim divides 1280 by the multiplier and multiplies again, which is exact or rounds to the same multiple of 8.
        last = _make_divisible(1280 * last_multiplier)
        net = blocks["layer_19"] = slim.conv2d(net, last, 1, scope="Conv_1")
        endpoints = blocks | inner
        if output_stride is not None:
            return None, endpoints

        with tf.variable_scope("Logits"):
            # `mobilenet.global_pool` takes its kernel from the static shape: that is why V2 modules have a fixed size.
            net = endpoints["global_pool"] = tf.nn.avg_pool(net, [1, *net.shape[1:3], 1], [1, 1, 1, 1], "VALID")
            if num_classes is None:
                return None, endpoints
            net = slim.dropout(net, scope="Dropout")
            logits = slim.conv2d(net, num_classes, 1, activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
            logits = endpoints["Logits"] = tf.identity(tf.squeeze(logits, [1, 2]), "output")
        endpoints["Predictions"] = slim.softmax(logits, scope="Predictions")
        return logits, endpoints


def _inverted_residual(block_input, width, expansion, stride, rate, scope):
    """`conv_blocks.expanded_conv`: expand, filter each channel, project linearly, add where the shapes allow it."""
    channels = block_input.shape[3]
    taps, net = {}, block_input
    with tf.variable_scope(scope):
        if expansion > 1:
            net = slim.conv2d(net, _make_divisible(channels * expansion), 1, scope="expand")
            net = taps["expansion_output"] = tf.identity(net, "expansion_output")
        net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=stride, rate=rate, scope="depthwise")
        net = taps["depthwise_output"] = tf.identity(net, "depthwise_output")
        net = slim.conv2d(net, width, 1, activation_fn=tf.identity, scope="project")
        if stride == 1 and channels == width:
            net += block_input
        taps["output"] = tf.identity(net, "output")
    return taps


# --- MobileNet V3 (arXiv:1905.02244, tables 1 and 2): expansion, width, kernel, stride, hard-swish?, gate? ---

V3_LARGE_ROWS = (
    (1, 16, 3, 1, False, False),
    (4, 24, 3, 2, False, False),
    (3, 24, 3, 1, False, False),
    (3, 40, 5, 2, False, True),
    (3, 40, 5, 1, False, True),
    (3, 40, 5, 1, False, True),
    (6, 80, 3, 2, True, False),
    (2.5, 80, 3, 1, True, False),
    (184 / 80.0, 80, 3, 1, True, False),
    (184 / 80.0, 80, 3, 1, True, False),
    (6, 112, 3, 1, True, True),
    (6, 112, 3, 1, True, True),
    (6, 160, 5, 2, True, True),
    (6, 160, 5, 1, True, True),
    (6, 160, 5, 1, True, True),
)
V3_SMALL_ROWS = (
    (1, 16, 3, 2, False, True),
    (72.0 / 16, 24, 3, 2, False, False),
    (88.0 / 24, 24, 3, 1, False, False),
    (4, 40, 5, 2, True, True),
    (6, 40, 5, 1, True, True),
    (6, 40, 5, 1, True, True),
    (3, 48, 5, 1, True, True),
    (3, 48, 5, 1, True, True),
    (6, 96, 5, 2, True, True),
    (6, 96, 5, 1, True, True),
    (6, 96, 5, 1, True, True),
)
V3_VARIANTS = {"large": (V3_LARGE_ROWS, 960, 1280), "small": (V3_SMALL_ROWS, 576, 1024)}
# The published graphs have these as float32, and so has every layer that computes with them.
V3_SIXTH, V3_GATE = float(np.float32(1.0 / 6.0)), float(np.float32(0.16667))


def _hard_swish(net):
    with tf.name_scope("hard_swish"):
        return net * tf.nn.relu6(net + 3.0) * V3_SIXTH


def _squeeze_excite(net):
    channels = int(net.shape[3])
    plain = {"normalizer_fn": None}
    with tf.variable_scope("squeeze_excite"):
        pooled = tf.reduce_mean(net, [1, 2], keepdims=True)
        hidden = _make_divisible(channels / 4.0)
        hidden = slim.conv2d(pooled, hidden, 1, activation_fn=tf.nn.relu, scope="Conv", **plain)
        gate = slim.conv2d(hidden, channels, 1, activation_fn=None, scope="Conv_1", **plain)
        return net * (tf.nn.relu6(gate + 3.0) * V3_GATE)


def _mobilenet_v3(images, depth_multiplier, last_multiplier, num_classes, output_stride, first_stride, variant):
    size, _, minimalistic = variant.partition("_")
    rows, last_width, features_width = V3_VARIANTS[size]
    swish = tf.nn.relu if minimalistic else _hard_swish
    blocks, inner = {}, {}
    with tf.variable_scope("MobilenetV3"):
        net = tf.identity(images, "input")
        plan = _strides_and_rates([first_stride or 2, *(row[3] for row in rows)], output_stride)
        stride, rate = next(plan)
        width = _make_divisible(16 * depth_multiplier)
        net = slim.conv2d(net, width, 3, stride=stride, rate=rate, activation_fn=swish, scope="Conv")
        blocks["layer_1"] = net
        for index, ((expansion, width, kernel, _, swishes, gated), (stride, rate)) in enumerate(
            zip(rows, plan, strict=True)
        ):
            activation = swish if swishes else tf.nn.relu
            scope = f"expanded_conv_{index}" if index else "expanded_conv"
            block_input, taps, channels = net, {}, int(net.shape[3])
            width, expanded = _make_divisible(width * depth_multiplier), _make_divisible(channels * expansion)
            with tf.variable_scope(scope):
                if expanded > channels:
                    net = slim.conv2d(net, expanded, 1, activation_fn=activation, scope="expand")
                    net = taps["expansion_output"] = tf.identity(net, "expansion_output")
                net = slim.separable_conv2d(
                    net,
                    None,
                    3 if minimalistic else kernel,
                    depth_multiplier=1,
                    stride=stride,
                    rate=rate,
                    activation_fn=activation,
                    scope="depthwise",
                )
                net = taps["depthwise_output"] = tf.identity(net, "depthwise_output")
                if gated and not minimalistic:
                    net = _squeeze_excite(net)
                net = slim.conv2d(net, width, 1, activation_fn=tf.identity, scope="project")
                if stride == 1 and channels == width:
                    net += block_input
                net = taps["output"] = tf.identity(net, "output")
            blocks[f"layer_{index + 2}"] = net
            inner.update({f"layer_{index + 2}/{name}": tensor for name, tensor in taps.items()})
        last, number = _make_divisible(last_width * depth_multiplier), len(rows) + 2
        net = blocks[f"layer_{number}"] = slim.conv2d(net, last, 1, activation_fn=swish, scope="Conv_1")
        endpoints = blocks | inner
        if output_stride is not None:
            return None, endpoints
        height, breadth = net.shape[1:3]
        window = height if height is not None and height == breadth else 7
        net = endpoints[f"layer_{number + 1}"] = slim.avg_pool2d(net, window, stride=1, padding="VALID")
        features = _make_divisible(features_width * last_multiplier)
        net = slim.conv2d(net, features, 1, normalizer_fn=None, activation_fn=swish, scope="Conv_2")
        endpoints[f"layer_{number + 2}"] = net

        with tf.variable_scope("Logits"):
            net = endpoints["global_pool"] = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
            if num_classes is None:
                return None, endpoints
            net = slim.dropout(net, scope="Dropout")
            logits = slim.conv2d(net, num_classes, 1, activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
            logits = endpoints["Logits"] = tf.identity(tf.squeeze(logits, [1, 2]), "output")
        endpoints["Predictions"] = slim.softmax(logits, scope="Predictions")
        return logits, endpoints


# --- Inception V2 (arXiv:1502.03167): tf-slim ships the network itself, without the option of global pooling ---


def _inception_v2(images, depth_multiplier, num_classes, first_stride):
    separable = slim_inception.layers.separable_conv2d

    @functools.wraps(separable)
    def stem(*args, **kwargs):
        return separable(*args, **kwargs | {"stride": first_stride or 2})

    # tf-slim writes the stride of the stem, its only separable convolution, into the call.
    with mock.patch.object(slim_inception.layers, "separable_conv2d", stem), tf.variable_scope("InceptionV2") as scope:
        net, endpoints = slim_inception.inception_v2_base(images, depth_multiplier=depth_multiplier, scope=scope)
        return _logits_of_v1_and_inception(net, num_classes, dict(endpoints))
