"""What sets the families apart, and the variables and widths that follow from a family alone. Keras is not needed."""

import importlib
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from mobilenets.convolution import Convolution, Shape
from mobilenets.names import SCOPES


class Family(NamedTuple):
    """What one family does and another does not.

    Attributes:
        options: arguments of the constructor that change the variables, with their values, the default first.
        output_strides: values of `output_stride` that change the network; none if it has no such argument.
        fixed_image_size: whether its hub modules take images of one size only. MobileNet V2 pools with a window of the
            static size of its last map (slim ``mobilenet.py: global_pool``), and MobileNet V3 likewise.
        explicit_padding: whether the constructor has the argument `padding`.
    """

    options: Mapping[str, tuple] = {}
    output_strides: tuple[int, ...] = ()
    fixed_image_size: bool = False
    explicit_padding: bool = False


FAMILIES: Mapping[str, Family] = {
    "mobilenet_v1": Family(output_strides=(8, 16), explicit_padding=True),
    "mobilenet_v2": Family(
        {"scale_last_layer": (None, True, False)}, (4, 8, 16), fixed_image_size=True, explicit_padding=True
    ),
    "mobilenet_v3": Family(
        {"variant": ("large", "small"), "minimalistic": (False, True), "scale_last_layer": (None, True, False)},
        (4, 8, 16),
        fixed_image_size=True,
    ),
    "inception_v2": Family(),
}
"""Family -> its facts."""


def option_choices(family: str) -> list[dict[str, Any]]:
    """Returns every combination of the values of a family's options, the defaults first."""
    options = FAMILIES[family].options
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def convolutions(
    family: str,
    depth_multiplier: float,
    num_classes: int = 1001,
    scale_last_layer: bool | None = None,
    **options: Any,
) -> list[Convolution]:
    """Returns all convolutions of a network in the order of its graph, the logits last.

    They come from the function `convolutions` of the module ``<family>_spec``.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        num_classes: classes of the logits.
        scale_last_layer: option of MobileNet V2 and V3; see `mobilenets.MobileNetV2`.
        **options: further options of the family: `variant` and `minimalistic` of MobileNet V3.

    Raises:
        ValueError: for another family, or an option or a value that the family does not have.
    """
    if family not in SCOPES:
        raise ValueError(f"family must be one of {', '.join(SCOPES)}, not {family!r}.")
    if scale_last_layer is not None:
        options["scale_last_layer"] = scale_last_layer
    known = FAMILIES[family].options
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{family} has no option {', '.join(unknown)}.")
    for option, value in options.items():
        if value not in known[option]:
            raise ValueError(f"{option} must be one of {', '.join(map(str, known[option]))}, not {value!r}.")
    return importlib.import_module(f"mobilenets.{family}_spec").convolutions(depth_multiplier, num_classes, **options)


def widths(
    family: str, depth_multiplier: float, scale_last_layer: bool | None = None, **options: Any
) -> dict[str, int]:
    """Returns slim scope -> output channels of every convolution that is neither depthwise nor the logits.

    These are the widths that the multiplier determines.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        scale_last_layer: option of MobileNet V2 and V3; see `mobilenets.MobileNetV2`.
        **options: further options of the family: `variant` and `minimalistic` of MobileNet V3.

    Raises:
        ValueError: for another family, or an option or a value that the family does not have.

    Example:
        >>> mobilenets.widths("mobilenet_v2", 1.4)["MobilenetV2/Conv_1"]
        1792
    """
    *body, _ = convolutions(family, depth_multiplier, scale_last_layer=scale_last_layer, **options)
    return {conv.scope: conv.out_channels for conv in body if conv.kind != "depthwise"}


def variable_shapes(
    family: str,
    depth_multiplier: float,
    num_classes: int | None = 1001,
    scale_last_layer: bool | None = None,
    **options: Any,
) -> dict[str, Shape]:
    """Returns slim variable name -> shape for a whole network.

    Args:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of all widths, above 0.
        num_classes: classes of the logits; None for a network without logits.
        scale_last_layer: option of MobileNet V2 and V3; see `mobilenets.MobileNetV2`.
        **options: further options of the family: `variant` and `minimalistic` of MobileNet V3.

    Raises:
        ValueError: for another family, or an option or a value that the family does not have.

    Example:
        >>> mobilenets.variable_shapes("mobilenet_v1", 0.25)["MobilenetV1/Conv2d_0/weights"]
        (3, 3, 3, 8)
    """
    convs = convolutions(family, depth_multiplier, num_classes or 1, scale_last_layer, **options)
    shapes: dict[str, Shape] = {}
    for conv in convs if num_classes else convs[:-1]:
        shapes |= conv.variables()
    return shapes
