"""A picture of a network: a row per block from top to bottom, a box per convolution or pool."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

import checkpoints
from converters.inspection.graph import Step, steps_of
from converters.inspection.plot_path import check_plot
from converters.text import shape_text
from mobilenets import slim_name

COLOURS = {"full": "#8ecae6", "depthwise": "#ffd166", "separable": "#b8e0a5", "pool": "#e4e4e4", "dense": "#cdb4db"}
INK, FAINT = "#22272b", "#7b858e"

# The unit of the drawing is the height of a row. Boxes and the gaps between them; next to them the columns of names, of
# sums and concatenations, and of shapes.
BOX_WIDTH, BOX_HEIGHT, GAP = 2.9, 0.68, 0.6
NAMES, SUM, SHAPES = 5.0, 0.4, 3.2
INCHES = 0.31
_ARROW = {"arrowstyle": "-|>", "color": FAINT, "lw": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}


class Box(NamedTuple):
    """The box of a convolution, a pool or a dense layer."""

    kind: str
    label: str


class Block(NamedTuple):
    """The content of one row.

    Attributes:
        name: slim scope within the network.
        branches: boxes in the order of the data; Inception's modules have several branches, other blocks one.
        residual: whether the block's input is added to its output.
        output: shape of the output, (height, width, channels) or (features,).
    """

    name: str
    branches: tuple[tuple[Box, ...], ...]
    residual: bool
    output: tuple[int, ...]


def plot_network(model: keras.Model, path: str | pathlib.Path, image_size: int | tuple[int, int] | None = None) -> None:
    """Draws a model's blocks, widths, strides, residuals and branches; the file is written whole or not at all.

    Args:
        model: a network of `mobilenets`, or a model built on its layers; fused or not.
        path: file to write; ".png", ".svg" or ".pdf".
        image_size: height and width in pixels (or one number for both), for a model with an open input size.

    Raises:
        ConversionError: if matplotlib is not installed, or the file name has another suffix.
        ValueError: if the model is not functional, contains a model or a shared layer, or has an open input size and no
            `image_size` is given.
        checkpoints.CheckpointError: if the file cannot be written.
    """
    check_plot(path)
    steps = steps_of(model, image_size)
    figure = _figure(model.name, steps[0].output, blocks_of(steps))
    with checkpoints.replacing(path) as file:
        figure.savefig(file, dpi=120)


def blocks_of(steps: Sequence[Step]) -> list[Block]:
    """Returns the blocks of a network in order, according to the slim scopes in the layer names.

    Layers without a box (batch norms, activations) belong to the block of their input.
    """
    owner: dict[str, str] = {}
    members: dict[str, list[Step]] = {}
    for step in steps:
        block = _scope(step.name)[0] if _box(step) else owner.get(step.sources[0]) if step.sources else None
        # A concatenation has the name of its module.
        if isinstance(step.operation, layers.Concatenate):
            block = _scope(step.name)[0]
        if block is not None:
            owner[step.name] = block
            members.setdefault(block, []).append(step)
    return [_block(name, own) for name, own in members.items()]


def _block(name: str, own: Sequence[Step]) -> Block:
    branches: dict[str, list[Box]] = {}
    for step in own:
        box = _box(step)
        if box:
            branches.setdefault(_scope(step.name)[1], []).append(box)
    ordered = tuple(tuple(branches[key]) for key in sorted(branches))
    return Block(name, ordered, any(isinstance(step.operation, layers.Add) for step in own), own[-1].output)


def _scope(layer_name: str) -> tuple[str, str]:
    """Returns block and branch of a layer. A depthwise and a pointwise convolution of MobileNet V1 are one block."""
    _, *parts = slim_name(layer_name).split("/")
    block = parts[0] if parts else layer_name
    for suffix in ("_depthwise", "_pointwise"):
        block = block.removesuffix(suffix)
    return block, parts[1] if len(parts) > 1 and parts[1].startswith("Branch_") else ""


def _box(step: Step) -> Box | None:
    """Returns the box of a layer; None for elementwise and reshaping layers."""
    layer, width = step.operation, step.output[-1]
    if isinstance(layer, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D):
        return Box("pool", f"global {_pool_kind(layer)}")
    if isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        return Box("pool", f"{_pool_kind(layer)} {shape_text(layer.pool_size)}{_stride(layer)}")
    if isinstance(layer, layers.DepthwiseConv2D):
        return Box("depthwise", f"dw {shape_text(layer.kernel_size)}{_stride(layer)}")
    if isinstance(layer, layers.SeparableConv2D):
        return Box("separable", f"sep {shape_text(layer.kernel_size)}{_stride(layer)}  {width}")
    if isinstance(layer, layers.Conv2D):
        return Box("full", f"{shape_text(layer.kernel_size)}{_stride(layer)}  {width}")
    if isinstance(layer, layers.Dense):
        return Box("dense", f"dense  {width}")
    return None


def _pool_kind(layer: keras.Layer) -> str:
    return "max" if isinstance(layer, layers.MaxPooling2D | layers.GlobalMaxPooling2D) else "avg"


def _stride(layer: keras.Layer) -> str:
    """Returns stride and dilation if they are not 1: "/2", "@2"."""
    dilation = getattr(layer, "dilation_rate", (1, 1))[0]
    return (f" /{layer.strides[0]}" if layer.strides[0] > 1 else "") + (f" @{dilation}" if dilation > 1 else "")


def _figure(name: str, image: tuple[int, ...], blocks: Sequence[Block]):
    """Returns the drawing. The unit is the height of a row, and y points down."""
    from matplotlib.figure import Figure

    rows = sum(len(block.branches) for block in blocks)
    columns = max(len(branch) for block in blocks for branch in block.branches)
    right = columns * (BOX_WIDTH + GAP) + SUM
    left, top, width, height = -NAMES, -1.9, NAMES + right + SHAPES, rows + 3.4
    figure = Figure(figsize=(width * INCHES, height * INCHES))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, left + width), ylim=(top + height, top))
    axes.axis("off")
    axes.text(left + 0.3, -1.25, name, fontsize=13, weight="bold", color=INK, va="center")
    axes.text(left + 0.3, -0.5, f"images {shape_text(image)}", fontsize=9, color=FAINT, va="center")
    _draw_legend(axes, left + 0.3, rows + 0.75)

    y, shaded, size = 0.0, False, None
    for block in blocks:
        # The shade changes with the size of the maps.
        shaded, size = shaded != (block.output[:-1] != size), block.output[:-1]
        if shaded:
            axes.axhspan(y, y + len(block.branches), color="#f3f5f7", lw=0, zorder=0)
        _draw_block(axes, block, y, right)
        y += len(block.branches)
    return figure


def _draw_block(axes, block: Block, top: float, right: float) -> None:
    middles = [top + row + 0.5 for row in range(len(block.branches))]
    centre = sum(middles) / len(middles)
    axes.text(-0.75, centre, block.name, fontsize=9, color=INK, ha="right", va="center")
    axes.text(right + 0.35, centre, shape_text(block.output), fontsize=9, color=INK, va="center")
    ends = []
    for middle, branch in zip(middles, block.branches, strict=True):
        for column, box in enumerate(branch):
            x = column * (BOX_WIDTH + GAP)
            _draw_box(axes, x, middle, box)
            axes.annotate("", (x, middle), (x - GAP, middle), arrowprops=_ARROW, zorder=1)
        ends.append(len(branch) * (BOX_WIDTH + GAP) - GAP)
    if len(middles) > 1:
        # The branches have a common input and concatenated outputs.
        axes.plot([-GAP, -GAP], [middles[0], middles[-1]], color=FAINT, lw=1)
        for end, middle in zip(ends, middles, strict=True):
            axes.plot([end, right - 0.25], [middle, middle], color=FAINT, lw=1, zorder=1)
        axes.plot([right - 0.25] * 2, [middles[0], middles[-1]], color=INK, lw=3)
    if block.residual:
        (end,) = ends
        axes.annotate("", (end + GAP - 0.12, centre), (end, centre), arrowprops=_ARROW, zorder=1)
        axes.text(end + GAP + 0.1, centre, "+", fontsize=12, weight="bold", color=INK, ha="center", va="center")
        detour = ([-GAP, -GAP, end + GAP + 0.1, end + GAP + 0.1], [centre, top + 0.06, top + 0.06, centre - 0.22])
        axes.plot(*detour, color="#d1495b", lw=1.3, zorder=1)


def _draw_box(axes, x: float, middle: float, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x, middle - BOX_HEIGHT / 2)
    shape = FancyBboxPatch(
        corner, BOX_WIDTH, BOX_HEIGHT, "round,pad=0,rounding_size=0.12", facecolor=COLOURS[box.kind], edgecolor="none"
    )
    axes.add_patch(shape)
    axes.text(x + BOX_WIDTH / 2, middle, box.label, fontsize=8.5, color=INK, ha="center", va="center")


def _draw_legend(axes, x: float, middle: float) -> None:
    explained = (
        "/2 stride   @2 dilation   last number channels\n"
        "dw depthwise   sep separable   red residual   shade size of the maps"
    )
    axes.text(x, middle, explained, fontsize=8, color=FAINT, va="center")
