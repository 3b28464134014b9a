"""One convolution of a network, as a row of plain facts: what it is called, its variables, its cost."""

import math
from typing import Literal, NamedTuple

Shape = tuple[int, ...]


class Convolution(NamedTuple):
    """A convolution and the vectors that follow it (batch norm, or else a bias).

    Attributes:
        scope: slim scope, such as ``MobilenetV2/expanded_conv_1/expand``.
        kind: "full", "depthwise", or "separable": depthwise, then 1x1, with nothing between the two.
        kernel_size: height and width of the kernel (of the depthwise kernel, where there are two).
        in_channels: channels of its input.
        out_channels: channels of its output.
        stride: nominal stride; an `output_stride` may lower it.
        reduction: how many times smaller than the image its output is, at nominal strides; 0 for a 1x1 map.
        batch_norm: trainable vectors of its batch norm; without any it has no batch norm but a bias.
        stddev: of the truncated normal that initialises its kernels; None for slim's variance scaling.
        channel_multiplier: outputs per input channel of the depthwise part.
    """

    scope: str
    kind: Literal["full", "depthwise", "separable"]
    kernel_size: int
    in_channels: int
    out_channels: int
    stride: int = 1
    reduction: int = 0
    batch_norm: tuple[str, ...] = ("gamma", "beta")
    stddev: float | None = 0.09
    channel_multiplier: int = 1

    def kernels(self) -> dict[str, Shape]:
        """Leaf name -> shape of its kernels, in slim's layout (height, width, in, out or multiplier)."""
        size, inner = self.kernel_size, self.in_channels * self.channel_multiplier
        depthwise = {"depthwise_weights": (size, size, self.in_channels, self.channel_multiplier)}
        if self.kind == "depthwise":
            return depthwise
        if self.kind == "separable":
            return {**depthwise, "pointwise_weights": (1, 1, inner, self.out_channels)}
        return {"weights": (size, size, self.in_channels, self.out_channels)}

    def variables(self) -> dict[str, Shape]:
        """Slim variable name -> shape of everything that it owns."""
        leaves = self.kernels()
        if self.batch_norm:
            vectors = [f"BatchNorm/{leaf}" for leaf in (*self.batch_norm, "moving_mean", "moving_variance")]
        else:
            vectors = ["biases"]
        leaves |= dict.fromkeys(vectors, (self.out_channels,))
        return {f"{self.scope}/{leaf}": shape for leaf, shape in leaves.items()}

    def multiply_adds(self, height: int, width: int) -> int:
        """Multiply-adds of its kernels for one image of that size (padding counts; biases and batch norm do not)."""
        # SAME padding rounds up at every stride, and ceil(ceil(n / a) / b) == ceil(n / (a * b)).
        positions = math.ceil(height / self.reduction) * math.ceil(width / self.reduction) if self.reduction else 1
        return positions * sum(map(math.prod, self.kernels().values()))


def logits(scope: str, in_channels: int, num_classes: int, stddev: float | None = 0.09) -> Convolution:
    """The 1x1 convolution with a bias that makes logits of pooled features, named alike in all three networks."""
    name = f"{scope}/Logits/Conv2d_1c_1x1"
    return Convolution(name, "full", 1, in_channels, num_classes, batch_norm=(), stddev=stddev)
