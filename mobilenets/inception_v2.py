"""Inception V2, also known as BN-Inception (Ioffe and Szegedy 2015, arXiv:1502.03167)."""

import keras
from keras import KerasTensor

from mobilenets.blocks import activation, convolution, head_output, image_input, pool
from mobilenets.inception_v2_spec import SCOPE, Branch, Pool, network
from mobilenets.names import layer_name
from mobilenets.options import Options


def InceptionV2(
    depth_multiplier: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    head: str = "classification",
    num_classes: int = 1001,
    *,
    first_stride: int = 2,
    batch_norm_scale: bool = False,
    batch_norm_momentum: float = 0.99,
    bessel_correction: bool = False,
    weight_decay: float | None = 4e-5,
    dropout_rate: float = 0.2,
    rescale_inputs: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Builds an Inception V2 with random weights.

    Args:
        depth_multiplier: factor of the channels of every layer, above 0; they are truncated and at least 16.
        input_shape: (height, width, channels), sizes from 32 up or None, channels 3 (RGB) or 1 (grayscale).
        head: "classification" for logits (batch, num_classes), "feature_vector" for the pooled features
            (batch, channels), "feature_map" for the output of the last layer (batch, height, width, channels).
        num_classes: classes of the logits; the published model has 1001, of which class 0 is "background".
        first_stride: 1 or 2: stride of the first convolution. Networks for small images, such as those of CIFAR-10, are
            trained with 1: the variables are the same, the feature maps twice as large.
        batch_norm_scale: whether batch norms have a trainable scale (gamma), as in object detection models; the
            published model has none.
        batch_norm_momentum: momentum of the moving statistics, in [0, 1). Slim trains with 0.9997; hub modules are
            fine-tuned with 0.99.
        bessel_correction: whether training updates moving variances with the unbiased variance of a batch, as TF1's
            fused batch norm did; if so, the batch norms are `mobilenets.BesselBatchNormalization`, not stock layers.
        weight_decay: L2 strength as slim counts it, ``weight_decay / 2 * sum(kernel ** 2)``, on all kernels but those
            of the separable stem; None or 0 for no such losses.
        dropout_rate: rate of the dropout before the logits, in [0, 1).
        rescale_inputs: True for images in [0, 1], as in hub modules; False for images in [-1, 1], as in slim.
        name: name of the model; "inception_v2" by default.

    Returns:
        A functional model of stock Keras layers, named after their slim scopes.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> model = mobilenets.InceptionV2(input_shape=(128, 128, 3), head="feature_map")
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
    )
    net = network(depth_multiplier, num_classes)
    vectors = ("gamma", "beta") if batch_norm_scale else ("beta",)

    images, x = image_input(options)
    stem, *trunk = net.trunk
    x = _chain(x, [stem._replace(stride=first_stride), *trunk], options, vectors)
    for module in net.modules:
        results = [_chain(x, branch, options, vectors) for branch in module.branches]
        x = keras.layers.Concatenate(name=layer_name(module.scope))(results)
    outputs = head_output(x, SCOPE, net.logits, options)
    return keras.Model(images, outputs, name=name or "inception_v2")


def _chain(x: KerasTensor, steps: Branch, options: Options, vectors: tuple[str, ...]) -> KerasTensor:
    """Applies convolutions, each with its activation, and pools; `vectors` are those that batch norms train."""
    for step in steps:
        if isinstance(step, Pool):
            x = pool(x, step.kind, step.stride, step.scope)
        else:
            conv = step._replace(batch_norm=vectors) if step.batch_norm else step
            x = activation(convolution(x, conv, options), f"{step.scope}/Relu")
    return x
