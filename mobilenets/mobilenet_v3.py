"""MobileNet V3 (Howard et al. 2019, arXiv:1905.02244)."""

import keras

from mobilenets.atrous import atrous
from mobilenets.blocks import (
    activation,
    block_output,
    convolution,
    hard_swish,
    head_output,
    image_input,
    pool_before_features,
    squeeze_excite,
)
from mobilenets.mobilenet_v3_spec import SCOPE, VARIANTS, network
from mobilenets.options import Options, check_output_stride


def MobileNetV3(
    depth_multiplier: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    head: str = "classification",
    num_classes: int = 1001,
    *,
    variant: str = "large",
    minimalistic: bool = False,
    scale_last_layer: bool | None = None,
    output_stride: int | None = None,
    first_stride: int = 2,
    batch_norm_momentum: float = 0.99,
    bessel_correction: bool = False,
    weight_decay: float | None = 4e-5,
    dropout_rate: float = 0.2,
    rescale_inputs: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Builds a MobileNet V3 with random weights.

    The head pools the last feature map before its last convolution, ``Conv_2``, with a window of the whole map if
    that is square and of known size, and of 7x7 otherwise, as slim does. Sides that are open, or differ, must therefore
    have at least 193 pixels for the heads "classification" and "feature_vector".

    Args:
        depth_multiplier: factor of the channels of every layer, above 0; they become multiples of 8.
        input_shape: (height, width, 3), sizes from 32 up or None.
        head: "classification" for logits (batch, num_classes), "feature_vector" for the pooled features
            (batch, channels), "feature_map" for the map before the pool (batch, height, width, channels).
        num_classes: classes of the logits; the published models have 1001, of which class 0 is "background".
        variant: "large" (15 blocks) or "small" (11 blocks).
        minimalistic: whether all kernels are 3x3 or 1x1, all activations ReLU, and no block has a gate.
        scale_last_layer: whether the multiplier also scales ``Conv_2``, of 1280 channels (small: 1024). None: only if
            the multiplier is at least 1, as in all published models (slim: ``finegrain_classification_mode``).
        output_stride: 1 or an even number: how many times smaller than the image the feature map may become; further
            strides become dilations. None for no limit.
        first_stride: 1 or 2: stride of the first convolution. Networks for small images, such as those of CIFAR-10, are
            trained with 1: the variables are the same, the feature maps twice as large.
        batch_norm_momentum: momentum of the moving statistics, in [0, 1). Slim trains with 0.997; hub modules are
            fine-tuned with 0.99.
        bessel_correction: whether training updates moving variances with the unbiased variance of a batch, as TF1's
            fused batch norm did; if so, the batch norms are `mobilenets.BesselBatchNormalization`, not stock layers.
        weight_decay: L2 strength as slim counts it, ``weight_decay / 2 * sum(kernel ** 2)``, on all kernels but the
            depthwise ones; None or 0 for no such losses.
        dropout_rate: rate of the dropout before the logits, in [0, 1).
        rescale_inputs: True for images in [0, 1], as in hub modules; False for images in [-1, 1], as in slim.
        name: name of the model; "mobilenet_v3" by default.

    Returns:
        A functional model of stock Keras layers, named after their slim scopes and endpoints.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> model = mobilenets.MobileNetV3(input_shape=(128, 128, 3), head="feature_vector", variant="small")
        >>> model.output_shape
        (None, 1024)
    """
    options = Options(
        depth_multiplier=depth_multiplier,
        input_shape=input_shape,
        head=head,
        num_classes=num_classes,
        first_stride=first_stride,
        batch_norm_momentum=batch_norm_momentum,
        bessel_correction=bessel_correction,
        weight_decay=weight_decay,
        dropout_rate=dropout_rate,
        rescale_inputs=rescale_inputs,
    )
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.")
    check_output_stride(output_stride, "MobileNet V3")
    net = network(depth_multiplier, num_classes, scale_last_layer, variant, minimalistic)
    steps = atrous([first_stride, *(block.depthwise.stride for block in net.blocks)], output_stride)

    def activate(x: keras.KerasTensor, scope: str, swish: bool = not minimalistic) -> keras.KerasTensor:
        return hard_swish(x, scope) if swish else activation(x, scope)

    images, x = image_input(options)
    stride, dilation = next(steps)
    x = convolution(x, net.stem, options, stride=stride, dilation=dilation)
    x = activate(x, f"{SCOPE}/layer_1")
    for index, (block, (stride, dilation)) in enumerate(zip(net.blocks, steps, strict=True), start=2):
        endpoint = f"{SCOPE}/layer_{index}"
        shortcut = x
        if block.expand:
            x = convolution(x, block.expand, options)
            x = activate(x, f"{endpoint}/expansion_output", block.hard_swish)
        x = convolution(x, block.depthwise, options, stride=stride, dilation=dilation)
        x = activate(x, f"{endpoint}/depthwise_output", block.hard_swish)
        if block.squeeze and block.excite:
            x = squeeze_excite(x, block.squeeze, block.excite, options)
        x = convolution(x, block.project, options)
        x = block_output(x, shortcut, stride, endpoint)
    last = len(net.blocks) + 2
    x = convolution(x, net.last, options)
    x = activate(x, f"{SCOPE}/layer_{last}")
    if options.head != "feature_map":
        x = pool_before_features(x, f"{SCOPE}/layer_{last + 1}")
        x = convolution(x, net.features, options)
        x = activate(x, f"{SCOPE}/layer_{last + 2}")
    outputs = head_output(x, SCOPE, net.logits, options)
    return keras.Model(images, outputs, name=name or "mobilenet_v3")
