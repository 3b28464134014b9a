"""Variables and widths that follow from a family and a depth multiplier alone. Keras is not needed."""

import importlib
import inspect

from mobilenets.convolution import Convolution, Shape
from mobilenets.names import SCOPES


def convolutions(
    family: str, depth_multiplier: float, num_classes: int = 1001, scale_last_layer: bool | None = None
) -> list[Convolution]:
    """Returns all convolutions of a network in the order of its graph, the logits last.

    They come from the function `convolutions` of the module ``<family>_spec``.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        num_classes: classes of the logits.
        scale_last_layer: option of MobileNet V2; see `mobilenets.MobileNetV2`.

    Raises:
        ValueError: for another family, or if `scale_last_layer` is given and the family has no such option.
    """
    if family not in SCOPES:
        raise ValueError(f"family must be one of {', '.join(SCOPES)}, not {family!r}.")
    spec = importlib.import_module(f"mobilenets.{family}_spec")
    options = {} if scale_last_layer is None else {"scale_last_layer": scale_last_layer}
    if not options.keys() <= inspect.signature(spec.convolutions).parameters.keys():
        raise ValueError(f"{family} has no option {', '.join(options)}.")
    return spec.convolutions(depth_multiplier, num_classes, **options)


def widths(family: str, depth_multiplier: float, scale_last_layer: bool | None = None) -> dict[str, int]:
    """Returns slim scope -> output channels of every convolution that is neither depthwise nor the logits.

    These are the widths that the multiplier determines.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        scale_last_layer: option of MobileNet V2; see `mobilenets.MobileNetV2`.

    Raises:
        ValueError: for another family, or if `scale_last_layer` is given and the family has no such option.

    Example:
        >>> mobilenets.widths("mobilenet_v2", 1.4)["MobilenetV2/Conv_1"]
        1792
    """
    *body, _ = convolutions(family, depth_multiplier, scale_last_layer=scale_last_layer)
    return {conv.scope: conv.out_channels for conv in body if conv.kind != "depthwise"}


def variable_shapes(
    family: str, depth_multiplier: float, num_classes: int | None = 1001, scale_last_layer: bool | None = None
) -> dict[str, Shape]:
    """Returns slim variable name -> shape for a whole network.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        num_classes: classes of the logits; None for a network without logits.
        scale_last_layer: option of MobileNet V2; see `mobilenets.MobileNetV2`.

    Raises:
        ValueError: for another family, or if `scale_last_layer` is given and the family has no such option.

    Example:
        >>> mobilenets.variable_shapes("mobilenet_v1", 0.25)["MobilenetV1/Conv2d_0/weights"]
        (3, 3, 3, 8)
    """
    convs = convolutions(family, depth_multiplier, num_classes or 1, scale_last_layer)
    shapes: dict[str, Shape] = {}
    for conv in convs if num_classes else convs[:-1]:
        shapes |= conv.variables()
    return shapes
