"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381)."""

import keras

from mobilenets.atrous import atrous
from mobilenets.blocks import activation, block_output, convolution, head_output, image_input
from mobilenets.mobilenet_v2_spec import SCOPE, network
from mobilenets.options import Options, check_output_stride


def MobileNetV2(
    depth_multiplier: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    head: str = "classification",
    num_classes: int = 1001,
    *,
    scale_last_layer: bool | None = None,
    output_stride: int | None = None,
    first_stride: int = 2,
    padding: str = "same",
    batch_norm_momentum: float = 0.99,
    bessel_correction: bool = False,
    weight_decay: float | None = 4e-5,
    dropout_rate: float = 0.2,
    rescale_inputs: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Builds a MobileNet V2 with random weights.

    Args:
        depth_multiplier: factor of the channels of every layer, above 0; they become multiples of 8.
        input_shape: (height, width, channels), sizes from 32 up or None, channels 3 (RGB) or 1 (grayscale).
        head: "classification" for logits (batch, num_classes), "feature_vector" for the pooled features
            (batch, channels), "feature_map" for the output of the last layer (batch, height, width, channels).
        num_classes: classes of the logits; the published models have 1001, of which class 0 is "background".
        scale_last_layer: whether the multiplier also scales the last convolution, of 1280 channels. None: only if the
            multiplier is at least 1, as in all published models (slim: ``finegrain_classification_mode``).
        output_stride: 1 or an even number: how many times smaller than the image the feature map may become; further
            strides become dilations. None for no limit.
        first_stride: 1 or 2: stride of the first convolution. Networks for small images, such as those of CIFAR-10, are
            trained with 1: the variables are the same, the feature maps twice as large.
        padding: "same" for TensorFlow's padding, which depends on the image size; "explicit" for one zero on every side
            of a 3x3 convolution (slim: ``use_explicit_padding``). Only convolutions with a stride differ.
        batch_norm_momentum: momentum of the moving statistics, in [0, 1). Slim trains with 0.997; hub modules are
            fine-tuned with 0.99.
        bessel_correction: whether training updates moving variances with the unbiased variance of a batch, as TF1's
            fused batch norm did; if so, the batch norms are `mobilenets.BesselBatchNormalization`, not stock layers.
        weight_decay: L2 strength as slim counts it, ``weight_decay / 2 * sum(kernel ** 2)``, on all kernels but the
            depthwise ones; None or 0 for no such losses.
        dropout_rate: rate of the dropout before the logits, in [0, 1).
        rescale_inputs: True for images in [0, 1], as in hub modules; False for images in [-1, 1], as in slim.
        name: name of the model; "mobilenet_v2" by default.

    Returns:
        A functional model of stock Keras layers, named after their slim scopes and endpoints.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> model = mobilenets.MobileNetV2(input_shape=(128, 128, 3), head="feature_map")
        >>> model.output_shape
        (None, 4, 4, 1280)
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
        padding=padding,
    )
    check_output_stride(output_stride, "MobileNet V2")
    net = network(depth_multiplier, num_classes, scale_last_layer)
    steps = atrous([first_stride, *(block.depthwise.stride for block in net.blocks)], output_stride)

    images, x = image_input(options)
    stride, dilation = next(steps)
    x = convolution(x, net.stem, options, stride=stride, dilation=dilation)
    x = activation(x, f"{SCOPE}/layer_1", max_value=6.0)
    for index, (block, (stride, dilation)) in enumerate(zip(net.blocks, steps, strict=True), start=2):
        endpoint = f"{SCOPE}/layer_{index}"
        shortcut = x
        if block.expand:
            x = convolution(x, block.expand, options)
            x = activation(x, f"{endpoint}/expansion_output", max_value=6.0)
        x = convolution(x, block.depthwise, options, stride=stride, dilation=dilation)
        x = activation(x, f"{endpoint}/depthwise_output", max_value=6.0)
        x = convolution(x, block.project, options)
        x = block_output(x, shortcut, stride, endpoint)
    x = convolution(x, net.last, options)
    x = activation(x, f"{SCOPE}/layer_{len(net.blocks) + 2}", max_value=6.0)
    outputs = head_output(x, SCOPE, net.logits, options)
    return keras.Model(images, outputs, name=name or "mobilenet_v2")
