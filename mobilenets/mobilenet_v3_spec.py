"""MobileNet V3 as a table (Howard et al. 2019, tables 1 and 2; slim ``nets/mobilenet/mobilenet_v3.py``)."""

from typing import NamedTuple

from mobilenets.convolution import Convolution, logits
from mobilenets.mobilenet_v2_spec import channels  # the same rounding

SCOPE = "MobilenetV3"
STEM_WIDTH = 16
SQUEEZE = 4


class Row(NamedTuple):
    """A block: expansion factor, output width (at multiplier 1), kernel size, stride, hard-swish or ReLU, a gate."""

    expansion: float
    width: int
    kernel_size: int
    stride: int
    hard_swish: bool
    gate: bool


LARGE = (
    Row(1, 16, 3, 1, False, False),
    Row(4, 24, 3, 2, False, False),
    Row(3, 24, 3, 1, False, False),
    Row(3, 40, 5, 2, False, True),
    Row(3, 40, 5, 1, False, True),
    Row(3, 40, 5, 1, False, True),
    Row(6, 80, 3, 2, True, False),
    Row(2.5, 80, 3, 1, True, False),
    Row(184 / 80, 80, 3, 1, True, False),
    Row(184 / 80, 80, 3, 1, True, False),
    Row(6, 112, 3, 1, True, True),
    Row(6, 112, 3, 1, True, True),
    Row(6, 160, 5, 2, True, True),
    Row(6, 160, 5, 1, True, True),
    Row(6, 160, 5, 1, True, True),
)
SMALL = (
    Row(1, 16, 3, 2, False, True),
    Row(72 / 16, 24, 3, 2, False, False),
    Row(88 / 24, 24, 3, 1, False, False),
    Row(4, 40, 5, 2, True, True),
    Row(6, 40, 5, 1, True, True),
    Row(6, 40, 5, 1, True, True),
    Row(3, 48, 5, 1, True, True),
    Row(3, 48, 5, 1, True, True),
    Row(6, 96, 5, 2, True, True),
    Row(6, 96, 5, 1, True, True),
    Row(6, 96, 5, 1, True, True),
)
# Variant -> its rows, and the widths of Conv_1 and of Conv_2.
VARIANTS = {"large": (LARGE, 960, 1280), "small": (SMALL, 576, 1024)}


class Block(NamedTuple):
    """A block: expand (None in the first one), filter depthwise, gate (squeeze, excite; or None), project."""

    expand: Convolution | None
    depthwise: Convolution
    squeeze: Convolution | None
    excite: Convolution | None
    project: Convolution
    hard_swish: bool


class Network(NamedTuple):
    """The convolutions of a MobileNet V3, in order; the last map is pooled between `last` and `features`."""

    stem: Convolution
    blocks: list[Block]
    last: Convolution
    features: Convolution
    logits: Convolution


def network(
    depth_multiplier: float,
    num_classes: int,
    scale_last_layer: bool | None = None,
    variant: str = "large",
    minimalistic: bool = False,
    halved_tail: bool = False,
) -> Network:
    """Returns the convolutions; for the options see `mobilenets.MobileNetV3`.

    With `halved_tail` the last three blocks and ``Conv_1`` have half the width, as in slim's detection variants.
    """
    if scale_last_layer is None:
        scale_last_layer = depth_multiplier >= 1
    rows, last_width, features_width = VARIANTS[variant]
    if halved_tail:
        rows = (*rows[:-3], *(row._replace(width=row.width // 2) for row in rows[-3:]))
        last_width //= 2
    previous, reduction = channels(STEM_WIDTH, depth_multiplier), 2
    stem = Convolution(f"{SCOPE}/Conv", "full", 3, 3, previous, 2, reduction)
    blocks = []
    for index, row in enumerate(rows):
        scope = f"{SCOPE}/expanded_conv_{index}" if index else f"{SCOPE}/expanded_conv"
        # The expansion counts from the input's real width, which is rounded already.
        inner = channels(previous, row.expansion)
        width = channels(row.width, depth_multiplier)
        expand = Convolution(f"{scope}/expand", "full", 1, previous, inner, 1, reduction) if inner > previous else None
        reduction *= row.stride
        kernel_size = 3 if minimalistic else row.kernel_size
        depthwise = Convolution(f"{scope}/depthwise", "depthwise", kernel_size, inner, inner, row.stride, reduction)
        squeeze = excite = None
        if row.gate and not minimalistic:
            squeezed, gate = channels(inner, 1 / SQUEEZE), f"{scope}/squeeze_excite"
            squeeze = Convolution(f"{gate}/Conv", "full", 1, inner, squeezed, batch_norm=())
            excite = Convolution(f"{gate}/Conv_1", "full", 1, squeezed, inner, batch_norm=())
        project = Convolution(f"{scope}/project", "full", 1, inner, width, 1, reduction)
        blocks.append(Block(expand, depthwise, squeeze, excite, project, row.hard_swish and not minimalistic))
        previous = width
    last_width = channels(last_width, depth_multiplier)
    last = Convolution(f"{SCOPE}/Conv_1", "full", 1, previous, last_width, 1, reduction)
    features_width = channels(features_width, depth_multiplier) if scale_last_layer else features_width
    features = Convolution(f"{SCOPE}/Conv_2", "full", 1, last_width, features_width, batch_norm=())
    return Network(stem, blocks, last, features, logits(SCOPE, features_width, num_classes))


def convolutions(
    depth_multiplier: float,
    num_classes: int,
    scale_last_layer: bool | None = None,
    variant: str = "large",
    minimalistic: bool = False,
    halved_tail: bool = False,
) -> list[Convolution]:
    """Returns the convolutions as one list, the logits last."""
    net = network(depth_multiplier, num_classes, scale_last_layer, variant, minimalistic, halved_tail)
    inside = [conv for block in net.blocks for conv in block if isinstance(conv, Convolution)]
    return [net.stem, *inside, net.last, net.features, net.logits]
