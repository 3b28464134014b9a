"""MobileNet V2 as a table (Sandler et al. 2018, table 2; slim ``nets/mobilenet/mobilenet_v2.py: V2_DEF``)."""

from typing import NamedTuple

from mobilenets.convolution import Convolution, logits

SCOPE = "MobilenetV2"


class Row(NamedTuple):
    """An inverted residual block with this stride and this output width (at multiplier 1)."""

    stride: int
    width: int


STEM_WIDTH = 32
EXPANSION = 6
LAST_WIDTH = 1280
ROWS = (
    Row(1, 16),
    Row(2, 24),
    Row(1, 24),
    Row(2, 32),
    Row(1, 32),
    Row(1, 32),
    Row(2, 64),
    Row(1, 64),
    Row(1, 64),
    Row(1, 64),
    Row(1, 96),
    Row(1, 96),
    Row(1, 96),
    Row(2, 160),
    Row(1, 160),
    Row(1, 160),
    Row(1, 320),
)


class Block(NamedTuple):
    """An inverted residual block: expand (None in the first block), filter depthwise, project to few channels."""

    expand: Convolution | None
    depthwise: Convolution
    project: Convolution


class Network(NamedTuple):
    """The convolutions of a MobileNet V2, in order."""

    stem: Convolution
    blocks: list[Block]
    last: Convolution
    logits: Convolution


def channels(width: int, depth_multiplier: float) -> int:
    """Returns the nearest multiple of 8 that is at least 8 and at least 90% of the exact width.

    Slim ``nets/mobilenet/mobilenet.py: _make_divisible``. The exact width is a float. Some ports truncate it first and
    get other widths at multipliers that were not published (64 * 0.28 is 24 here, not 16).
    """
    exact = width * depth_multiplier
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def network(depth_multiplier: float, num_classes: int, scale_last_layer: bool | None = None) -> Network:
    """Returns the convolutions; for `scale_last_layer` see `mobilenets.MobileNetV2`."""
    if scale_last_layer is None:
        scale_last_layer = depth_multiplier >= 1
    previous, reduction = channels(STEM_WIDTH, depth_multiplier), 2
    stem = Convolution(f"{SCOPE}/Conv", "full", 3, 3, previous, stride=2, reduction=reduction)
    blocks = []
    for index, row in enumerate(ROWS):
        # The first block is `expanded_conv`, without a number and without an expansion.
        scope = f"{SCOPE}/expanded_conv_{index}" if index else f"{SCOPE}/expanded_conv"
        inner = EXPANSION * previous if index else previous
        width = channels(row.width, depth_multiplier)
        expand = Convolution(f"{scope}/expand", "full", 1, previous, inner, 1, reduction) if index else None
        reduction *= row.stride
        depthwise = Convolution(f"{scope}/depthwise", "depthwise", 3, inner, inner, row.stride, reduction)
        blocks.append(Block(expand, depthwise, Convolution(f"{scope}/project", "full", 1, inner, width, 1, reduction)))
        previous = width
    last_width = channels(LAST_WIDTH, depth_multiplier) if scale_last_layer else LAST_WIDTH
    last = Convolution(f"{SCOPE}/Conv_1", "full", 1, previous, last_width, 1, reduction)
    return Network(stem, blocks, last, logits(SCOPE, last_width, num_classes))


def convolutions(depth_multiplier: float, num_classes: int, scale_last_layer: bool | None = None) -> list[Convolution]:
    """Returns the convolutions as one list, the logits last."""
    stem, blocks, last, classifier = network(depth_multiplier, num_classes, scale_last_layer)
    return [stem, *(conv for block in blocks for conv in block if conv), last, classifier]
