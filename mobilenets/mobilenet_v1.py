"""MobileNet V1 (Howard et al. 2017, arXiv:1704.04861)."""

import keras

from mobilenets.atrous import atrous
from mobilenets.blocks import activation, convolution, head_output, image_input
from mobilenets.mobilenet_v1_spec import SCOPE, convolutions
from mobilenets.options import Options

OUTPUT_STRIDES = (8, 16, 32)


def MobileNetV1(
    depth_multiplier: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    head: str = "classification",
    num_classes: int = 1001,
    *,
    output_stride: int | None = None,
    first_stride: int = 2,
    padding: str = "same",
    batch_norm_momentum: float = 0.99,
    bessel_correction: bool = False,
    weight_decay: float | None = 4e-5,
    dropout_rate: float = 0.001,
    rescale_inputs: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Builds a MobileNet V1 with random weights.

    Args:
        depth_multiplier: factor of the channels of every layer, above 0; they are truncated and at least 8.
        input_shape: (height, width, channels), sizes from 32 up or None, channels 3 (RGB) or 1 (grayscale).
        head: "classification" for logits (batch, num_classes), "feature_vector" for the pooled features
            (batch, channels), "feature_map" for the output of the last layer (batch, height, width, channels).
        num_classes: classes of the logits; the published models have 1001, of which class 0 is "background".
        output_stride: 8, 16 or 32: how many times smaller than the image the feature map may become; further
            strides become dilations. None for no limit.
        first_stride: 1 or 2: stride of the first convolution. Networks for small images, such as those of CIFAR-10, are
            trained with 1: the variables are the same, the feature maps twice as large.
        padding: "same" for TensorFlow's padding, which depends on the image size; "explicit" for one zero on every side
            of a 3x3 convolution (slim: ``use_explicit_padding``). Only convolutions with a stride differ.
        batch_norm_momentum: momentum of the moving statistics, in [0, 1). Slim trains with 0.9997; hub modules are
            fine-tuned with 0.99.
        bessel_correction: whether training updates moving variances with the unbiased variance of a batch, as TF1's
            fused batch norm did; if so, the batch norms are `mobilenets.BesselBatchNormalization`, not stock layers.
        weight_decay: L2 strength as slim counts it, ``weight_decay / 2 * sum(kernel ** 2)``, on all kernels but the
            depthwise ones; None or 0 for no such losses.
        dropout_rate: rate of the dropout before the logits, in [0, 1).
        rescale_inputs: True for images in [0, 1], as in hub modules; False for images in [-1, 1], as in slim.
        name: name of the model; "mobilenet_v1" by default.

    Returns:
        A functional model of stock Keras layers, named after their slim scopes.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> model = mobilenets.MobileNetV1(input_shape=(128, 128, 3), head="feature_map")
        >>> model.output_shape
        (None, 4, 4, 1024)
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
    if output_stride not in (None, *OUTPUT_STRIDES):
        raise ValueError(f"output_stride of MobileNet V1 must be None, 8, 16 or 32, not {output_stride!r}.")
    *body, logits = convolutions(depth_multiplier, num_classes)

    images, x = image_input(options)
    steps = atrous([first_stride, *(conv.stride for conv in body[1:])], output_stride)
    for conv, (stride, dilation) in zip(body, steps, strict=True):
        x = convolution(x, conv, options, stride=stride, dilation=dilation)
        x = activation(x, f"{conv.scope}/Relu6", max_value=6.0)
    outputs = head_output(x, SCOPE, logits, options)
    return keras.Model(images, outputs, name=name or "mobilenet_v1")
