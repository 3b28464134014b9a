"""The common parts of the networks in stock Keras layers, each named after its slim scope."""

import keras
import numpy as np
from keras import KerasTensor

from mobilenets.batch_norm import BesselBatchNormalization
from mobilenets.convolution import Convolution
from mobilenets.names import layer_name
from mobilenets.options import Options

# Images are (height, width, channels) whatever keras.json says: the weights have no other layout.
LAYOUT = "channels_last"

EPSILON = 1e-3

# Name of the layer that takes images from [0, 1] to [-1, 1]; other layers of this type belong to activations.
RESCALE_INPUTS = "rescale_inputs"

# The constants of slim's float32 graphs, in any dtype. The gate's is not 1/6 (slim ``mobilenet_v3.py: hard_sigmoid``
# and ``squeeze_excite``); the difference is visible in float32.
HARD_SWISH_SCALE = float(np.float32(1 / 6))
GATE_SCALE = float(np.float32(0.16667))
FEATURES_WINDOW = 7

# To make up for the truncation, slim's `variance_scaling_initializer` multiplies the deviation by sqrt(1.3) and Keras
# divides it by 0.8796. With this scale both are equal.
SLIM_VARIANCE_SCALE = 2 * 1.3 * 0.87962566103423978**2


def image_input(options: Options) -> tuple[KerasTensor, KerasTensor]:
    """Returns the model's input, and its images in [-1, 1]."""
    # Images are float64 under a float64 policy, and float32 under mixed precision.
    dtype = keras.config.dtype_policy().variable_dtype
    images = keras.Input(tuple(options.input_shape), dtype=dtype, name="images")
    if not options.rescale_inputs:
        return images, images
    return images, keras.layers.Rescaling(2.0, -1.0, name=RESCALE_INPUTS)(images)


def rescales_inputs(model: keras.Model) -> bool:
    """Returns whether a network takes images in [0, 1]; otherwise it takes [-1, 1]."""
    return any(isinstance(layer, keras.layers.Rescaling) and layer.name == RESCALE_INPUTS for layer in model.layers)


def convolution(
    x: KerasTensor, conv: Convolution, options: Options, *, stride: int | None = None, dilation: int = 1
) -> KerasTensor:
    """Applies a convolution and its batch norm, without activation; `stride` replaces the nominal one."""
    stride = conv.stride if stride is None else stride
    # With stride 1, both paddings are the same for odd kernels.
    explicit = options.padding == "explicit" and stride > 1 and conv.kernel_size > 1
    if explicit:
        # The name is outside of the slim scope, whose layers without weights are endpoints.
        name = layer_name(f"padding/{conv.scope}")
        x = keras.layers.ZeroPadding2D(conv.kernel_size // 2, data_format=LAYOUT, name=name)(x)
    x = _kernel_layer(conv, options, stride, dilation, padding="valid" if explicit else "same")(x)
    if not conv.batch_norm:
        return x
    batch_norm = BesselBatchNormalization if options.bessel_correction else keras.layers.BatchNormalization
    return batch_norm(
        momentum=options.batch_norm_momentum,
        epsilon=EPSILON,
        scale="gamma" in conv.batch_norm,
        name=layer_name(f"{conv.scope}/BatchNorm"),
    )(x)


def activation(x: KerasTensor, scope: str, max_value: float | None = None) -> KerasTensor:
    """Applies a ReLU with the upper bound `max_value`."""
    return keras.layers.ReLU(max_value, name=layer_name(scope))(x)


def hard_swish(x: KerasTensor, scope: str) -> KerasTensor:
    """Computes ``x * relu6(x + 3) / 6``, as slim's graphs do."""
    inside = f"{scope}/hard_swish"
    product = keras.layers.Multiply(name=layer_name(f"{inside}/mul"))([x, _shifted_relu6(x, inside)])
    return keras.layers.Rescaling(HARD_SWISH_SCALE, name=layer_name(scope))(product)


def squeeze_excite(x: KerasTensor, squeeze: Convolution, excite: Convolution, options: Options) -> KerasTensor:
    """Multiplies each channel by a gate between 0 and 1, computed from the means of all channels."""
    scope = squeeze.scope.rpartition("/")[0]
    gate = keras.layers.GlobalAveragePooling2D(LAYOUT, keepdims=True, name=layer_name(f"{scope}/pool"))(x)
    gate = activation(convolution(gate, squeeze, options), f"{squeeze.scope}/Relu")
    gate = _shifted_relu6(convolution(gate, excite, options), excite.scope)
    gate = keras.layers.Rescaling(GATE_SCALE, name=layer_name(f"{excite.scope}/mul"))(gate)
    return keras.layers.Multiply(name=layer_name(f"{scope}/mul"))([x, gate])


def _shifted_relu6(x: KerasTensor, scope: str) -> KerasTensor:
    shifted = keras.layers.Rescaling(1.0, 3.0, name=layer_name(f"{scope}/add"))(x)
    return keras.layers.ReLU(6.0, name=layer_name(f"{scope}/Relu6"))(shifted)


def pool_before_features(x: KerasTensor, scope: str) -> KerasTensor:
    """Averages over the whole map if it is square and its size is known, and over windows of 7x7 otherwise.

    Slim ``mobilenet_v3.py: reduce_to_1x1`` with its default size.

    Raises:
        ValueError: if a known side of another map is shorter than 7.
    """
    height, width = x.shape[1:3]
    size = height if height is not None and height == width else FEATURES_WINDOW
    if any(side is not None and side < size for side in (height, width)):
        sides = "x".join("any" if side is None else str(side) for side in (height, width))
        raise ValueError(
            f"input_shape gives a last map of {sides}; a map that is not square, or of unknown size, is pooled with a "
            f"window of {size}x{size}. Use a square input_shape, or sides of at least 193 pixels (97 with a "
            "first_stride of 1)."
        )
    return keras.layers.AveragePooling2D(size, 1, padding="valid", data_format=LAYOUT, name=layer_name(scope))(x)


def block_output(x: KerasTensor, shortcut: KerasTensor, stride: int, endpoint: str) -> KerasTensor:
    """Ends an inverted residual block: adds its input `shortcut` where the stride is 1 and the channels are equal."""
    name = layer_name(f"{endpoint}/output")
    # The effective stride counts, so an output stride can make a block residual (slim `conv_blocks.py`).
    if stride == 1 and shortcut.shape[-1] == x.shape[-1]:
        return keras.layers.Add(name=name)([x, shortcut])
    return keras.layers.Identity(name=name)(x)


def pool(x: KerasTensor, kind: str, stride: int, scope: str) -> KerasTensor:
    """Applies a 3x3 "MaxPool" or "AvgPool" with SAME padding; the average ignores the padding."""
    layer = {"MaxPool": keras.layers.MaxPooling2D, "AvgPool": keras.layers.AveragePooling2D}[kind]
    return layer(3, stride, padding="same", data_format=LAYOUT, name=layer_name(scope))(x)


def head_output(x: KerasTensor, scope: str, logits: Convolution, options: Options) -> KerasTensor:
    """Computes the output of the head from the last feature map `x`: the map itself, pooled features, or logits."""
    if options.head == "feature_map":
        return x
    x = keras.layers.GlobalAveragePooling2D(LAYOUT, keepdims=True, name=layer_name(f"{scope}/global_pool"))(x)
    if options.head == "feature_vector":
        return keras.layers.Flatten(LAYOUT, name="feature_vector")(x)
    x = keras.layers.Dropout(options.dropout_rate, name="dropout")(x)
    dtype = _logits_dtype()
    x = _kernel_layer(logits, options, 1, 1, dtype)(x)
    return keras.layers.Flatten(LAYOUT, dtype=dtype, name=layer_name(f"{scope}/Logits"))(x)


def _logits_dtype() -> str | None:
    """Returns float32 under a policy of half precision, in which a softmax would lose small probabilities."""
    return "float32" if keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16") else None


def _kernel_layer(
    conv: Convolution, options: Options, stride: int, dilation: int, dtype: str | None = None, padding: str = "same"
) -> keras.layers.Layer:
    """Builds the layer with the kernels, and with the bias of a convolution without batch norm."""
    shared = dict(
        strides=stride,
        padding=padding,
        data_format=LAYOUT,
        # A 1x1 kernel cannot be dilated.
        dilation_rate=dilation if conv.kernel_size > 1 else 1,
        use_bias=not conv.batch_norm,
        dtype=dtype,
        name=layer_name(conv.scope),
    )
    if conv.kind == "depthwise":
        return keras.layers.DepthwiseConv2D(conv.kernel_size, depthwise_initializer=_initializer(conv), **shared)
    if conv.kind == "separable":
        return keras.layers.SeparableConv2D(
            conv.out_channels,
            conv.kernel_size,
            depth_multiplier=conv.channel_multiplier,
            depthwise_initializer=_initializer(conv),
            pointwise_initializer=_initializer(conv),
            **shared,
        )
    return keras.layers.Conv2D(
        conv.out_channels,
        conv.kernel_size,
        kernel_initializer=_initializer(conv),
        kernel_regularizer=_regularizer(options.weight_decay),
        **shared,
    )


def _initializer(conv: Convolution) -> keras.initializers.Initializer:
    """Returns a new initializer for every kernel: one that is used twice gives the same values twice."""
    if conv.stddev is None:
        return keras.initializers.VarianceScaling(SLIM_VARIANCE_SCALE, "fan_in", "truncated_normal")
    return keras.initializers.TruncatedNormal(stddev=conv.stddev)


def _regularizer(weight_decay: float | None) -> keras.regularizers.Regularizer | None:
    """Returns the L2 term. Slim counts half the sum of squares (``l2_regularizer``), Keras the whole sum."""
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None
