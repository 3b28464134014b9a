"""What follows from a family and a depth multiplier alone: variables, widths and cost. No Keras is needed for it."""

from mobilenets import inception_v2_spec, mobilenet_v1_spec, mobilenet_v2_spec
from mobilenets.convolution import Convolution, Shape
from mobilenets.names import SCOPES


def convolutions(
    family: str, depth_multiplier: float, num_classes: int = 1001, scale_last_layer: bool | None = None
) -> list[Convolution]:
    """All convolutions of a network in the order of its graph, the logits last.

    Args:
        family: "mobilenet_v1", "mobilenet_v2" or "inception_v2".
        depth_multiplier: above 0.
        num_classes: classes of the logits.
        scale_last_layer: MobileNet V2 only; see `mobilenets.MobileNetV2`.

    Raises:
        ValueError: for another family, or `scale_last_layer` where there is no such choice.
    """
    if family not in SCOPES:
        raise ValueError(f"family must be one of {', '.join(SCOPES)}, not {family!r}.")
    if family == "mobilenet_v2":
        stem, blocks, last, logits = mobilenet_v2_spec.network(depth_multiplier, num_classes, scale_last_layer)
        return [stem, *(conv for block in blocks for conv in block if conv), last, logits]
    if scale_last_layer is not None:
        raise ValueError(f"scale_last_layer is a choice of mobilenet_v2 only, not of {family}.")
    if family == "mobilenet_v1":
        return mobilenet_v1_spec.network(depth_multiplier, num_classes)
    trunk, modules, logits = inception_v2_spec.network(depth_multiplier, num_classes)
    steps = [*trunk, *(step for module in modules for branch in module.branches for step in branch)]
    return [step for step in steps if isinstance(step, Convolution)] + [logits]


def widths(family: str, depth_multiplier: float, scale_last_layer: bool | None = None) -> dict[str, int]:
    """Slim scope -> output channels of every convolution whose width the multiplier sets: not depthwise, not logits."""
    *body, _ = convolutions(family, depth_multiplier, scale_last_layer=scale_last_layer)
    return {conv.scope: conv.out_channels for conv in body if conv.kind != "depthwise"}


def variable_shapes(
    family: str, depth_multiplier: float, num_classes: int | None = 1001, scale_last_layer: bool | None = None
) -> dict[str, Shape]:
    """Slim variable name -> shape, for the whole network; without its logits where `num_classes` is None."""
    convs = convolutions(family, depth_multiplier, num_classes or 1, scale_last_layer)
    shapes: dict[str, Shape] = {}
    for conv in convs if num_classes else convs[:-1]:
        shapes |= conv.variables()
    return shapes
