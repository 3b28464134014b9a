"""What network a checkpoint holds, told from the names and shapes of its variables alone."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mobilenets
from converters.errors import ConversionError
from mobilenets import SCOPES

PUBLISHED_MULTIPLIERS = sorted({mobilenets.get_model_info(name).depth_multiplier for name in mobilenets.list_models()})


@dataclass(frozen=True)
class Network:
    """A recognised network.

    Attributes:
        family: "mobilenet_v1", "mobilenet_v2" or "inception_v2".
        depth_multiplier: the simplest multiplier that gives the widths found.
        scale_last_layer: MobileNet V2 only: whether the multiplier scaled the last convolution; None where the
            family's default holds.
        num_classes: of the logits, or None where the variables hold no classification layer.
    """

    family: str
    depth_multiplier: float
    scale_last_layer: bool | None
    num_classes: int | None


def recognise(shapes: Mapping[str, tuple], source: str) -> Network:
    """The network whose variables have these names and shapes.

    Where no multiplier gives all the widths (a variable is misshapen), the one that gives the most is taken, so that
    the accounting that follows can name the odd ones.

    Args:
        shapes: ``{slim variable name: shape}``.
        source: what to call the checkpoint in an error.

    Raises:
        ConversionError: no variable stands under the scope of a known network.
    """
    families = Counter(family for name in shapes for family, scope in SCOPES.items() if name.startswith(scope + "/"))
    if not families:
        scopes = sorted({name.partition("/")[0] for name in shapes})
        raise ConversionError(
            f"{source} holds no network of {', '.join(SCOPES.values())}: its variables stand under "
            f"{', '.join(scopes[:5])}{' and others' if len(scopes) > 5 else ''}."
        )
    family = families.most_common(1)[0][0]
    observed = observed_widths(family, shapes)
    if not observed:
        raise ConversionError(f"{source} holds variables of {SCOPES[family]}, but no weights of its convolutions.")
    multiplier, scale_last_layer = max(
        _candidates(family, observed), key=lambda candidate: matches(family, observed, *candidate)
    )
    return Network(family, multiplier, scale_last_layer, _num_classes(family, shapes))


def image_channels(shapes: Mapping[str, tuple]) -> int:
    """Channels of the images, from the kernel of the first convolution: 1 for grayscale, otherwise 3."""
    first = re.compile(rf"({'|'.join(SCOPES.values())})/(Conv2d_0|Conv|Conv2d_1a_7x7)/(weights|depthwise_weights)")
    return 1 if any(first.fullmatch(name) and shape[2:3] == (1,) for name, shape in shapes.items()) else 3


def observed_widths(family: str, shapes: Mapping[str, tuple]) -> dict[str, int]:
    """``{scope: output channels}`` of the convolutions whose width the multiplier decides, as far as they are there."""
    found = {}
    for scope in mobilenets.widths(family, 1.0):
        for leaf in ("weights", "pointwise_weights"):
            shape = shapes.get(f"{scope}/{leaf}")
            if shape and len(shape) == 4:
                found[scope] = shape[-1]
    return found


def matches(family: str, observed: Mapping[str, int], multiplier: float, scale_last_layer: bool | None) -> int:
    """How many of the observed widths this multiplier gives."""
    widths = mobilenets.widths(family, multiplier, scale_last_layer)
    return sum(widths[scope] == width for scope, width in observed.items())


def _candidates(family: str, observed: Mapping[str, int]) -> Iterator[tuple[float, bool | None]]:
    """Multipliers to try, the simplest first, up to the first that explains every width.

    Many multipliers give the same widths (and so the same network); the published ones and short decimals come first.
    """
    scalings = (None, True, False) if family == "mobilenet_v2" else (None,)
    for multiplier in _multipliers(family, observed):
        for scale_last_layer in scalings:
            yield multiplier, scale_last_layer
            if matches(family, observed, multiplier, scale_last_layer) == len(observed):
                return


def _multipliers(family: str, observed: Mapping[str, int]) -> Iterator[float]:
    yield from PUBLISHED_MULTIPLIERS
    base = mobilenets.widths(family, 1.0)
    # The widest layer that the multiplier scales pins it best: rounding moves a width by less than 16 channels
    # (to a multiple of 8, or up to the minimum depth).
    ratios = sorted((width - 16) / base[scope] for scope, width in observed.items())
    tops = sorted((width + 16) / base[scope] for scope, width in observed.items())
    low, high = max(ratios[len(ratios) // 2], 0), tops[len(tops) // 2]
    for step in (0.1, 0.05, 0.01, 0.001):
        first, last = int(low / step), int(high / step) + 1
        yield from (round(index * step, 3) for index in range(max(first, 1), last + 1))


def _num_classes(family: str, shapes: Mapping[str, tuple]) -> int | None:
    shape = shapes.get(f"{SCOPES[family]}/Logits/Conv2d_1c_1x1/weights")
    return shape[-1] if shape else None
