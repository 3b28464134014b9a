"""One convolution of a network as a row of facts: its scope, its variables, its cost."""

import math
from typing import Literal, NamedTuple

Shape = tuple[int, ...]


class Convolution(NamedTuple):
    """A convolution and the vectors that follow it (batch norm, or else a bias).

    Attributes:
        scope: slim scope, such as ``MobilenetV2/expanded_conv_1/expand``.
        kind: "full", "depthwise", or "separable" (depthwise, then 1x1, with nothing between the two).
        kernel_size: height and width of the kernel; of the depthwise kernel in a separable convolution.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: nominal stride; an `output_stride` may lower it.
        reduction: how many times smaller than the image the output is, at nominal strides; 0 for a 1x1 map.
        batch_norm: trainable vectors of the batch norm; if empty, there is a bias and no batch norm.
        stddev: standard deviation of the truncated normal that initializes the kernels; None for slim's variance
            scaling.
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
        """Returns leaf name -> shape of the kernels, in slim's layout (height, width, in, out or multiplier)."""
        size, inner = self.kernel_size, self.in_channels * self.channel_multiplier
        depthwise: dict[str, Shape] = {"depthwise_weights": (size, size, self.in_channels, self.channel_multiplier)}
        if self.kind == "depthwise":
            return depthwise
        if self.kind == "separable":
            return {**depthwise, "pointwise_weights": (1, 1, inner, self.out_channels)}
        return {"weights": (size, size, self.in_channels, self.out_channels)}

    def variables(self) -> dict[str, Shape]:
        """Returns slim variable name -> shape of all variables."""
        leaves = self.kernels()
        if self.batch_norm:
            vectors = [f"BatchNorm/{leaf}" for leaf in (*self.batch_norm, "moving_mean", "moving_variance")]
        else:
            vectors = ["biases"]
        leaves |= dict.fromkeys(vectors, (self.out_channels,))
        return {f"{self.scope}/{leaf}": shape for leaf, shape in leaves.items()}

    def multiply_adds(self, height: int, width: int) -> int:
        """Returns the multiply-adds of the kernels for one image (padding counts; bias and batch norm do not)."""
        # SAME padding rounds up at every stride, and ceil(ceil(n / a) / b) == ceil(n / (a * b)).
        positions = math.ceil(height / self.reduction) * math.ceil(width / self.reduction) if self.reduction else 1
        return positions * sum(map(math.prod, self.kernels().values()))


def logits(scope: str, in_channels: int, num_classes: int, stddev: float | None = 0.09) -> Convolution:
    """Returns the 1x1 convolution with a bias from pooled features to logits; its name is the same in all networks."""
    name = f"{scope}/Logits/Conv2d_1c_1x1"
    return Convolution(name, "full", 1, in_channels, num_classes, batch_norm=(), stddev=stddev)
