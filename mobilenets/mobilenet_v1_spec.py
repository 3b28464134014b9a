"""MobileNet V1 as a table (Howard et al. 2017, table 1; slim ``nets/mobilenet_v1.py: MOBILENETV1_CONV_DEFS``)."""

from typing import NamedTuple

from mobilenets.convolution import Convolution, logits

SCOPE = "MobilenetV1"


class Row(NamedTuple):
    """A depthwise convolution with this stride, then a pointwise one with this width (at multiplier 1)."""

    stride: int
    width: int


STEM_WIDTH = 32
ROWS = (
    Row(1, 64),
    Row(2, 128),
    Row(1, 128),
    Row(2, 256),
    Row(1, 256),
    Row(2, 512),
    Row(1, 512),
    Row(1, 512),
    Row(1, 512),
    Row(1, 512),
    Row(1, 512),
    Row(2, 1024),
    Row(1, 1024),
)


def channels(width: int, depth_multiplier: float) -> int:
    """Returns the scaled width, truncated and at least 8 (slim ``mobilenet_v1_base: depth``)."""
    return max(int(width * depth_multiplier), 8)


def convolutions(depth_multiplier: float, num_classes: int) -> list[Convolution]:
    """Returns the convolutions in order: the stem, depthwise and pointwise in turn, the logits."""
    previous, reduction = channels(STEM_WIDTH, depth_multiplier), 2
    convs = [Convolution(f"{SCOPE}/Conv2d_0", "full", 3, 3, previous, stride=2, reduction=reduction)]
    for index, row in enumerate(ROWS, start=1):
        scope, width = f"{SCOPE}/Conv2d_{index}", channels(row.width, depth_multiplier)
        reduction *= row.stride
        convs += [
            Convolution(f"{scope}_depthwise", "depthwise", 3, previous, previous, row.stride, reduction),
            Convolution(f"{scope}_pointwise", "full", 1, previous, width, 1, reduction),
        ]
        previous = width
    return [*convs, logits(SCOPE, previous, num_classes)]
