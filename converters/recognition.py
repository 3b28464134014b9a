"""What network a checkpoint holds, recognised by the names and shapes of its variables alone."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mobilenets
from converters.errors import ConversionError
from converters.relatives import refuse_detection
from converters.scopes import no_network
from mobilenets import SCOPES
from mobilenets.families import option_choices

PUBLISHED_MULTIPLIERS = sorted({mobilenets.get_model_info(name).depth_multiplier for name in mobilenets.list_models()})


@dataclass(frozen=True)
class Network:
    """A recognised network.

    Attributes:
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: the simplest multiplier that gives the widths of the variables.
        options: the family's further options (`mobilenets.families.Family.options`) and their values.
        num_classes: of the logits, or None where the variables hold no classification layer.
        batch_norm_scale: Inception V2 only: whether its batch norms have a gamma, as in detection models.
    """

    family: str
    depth_multiplier: float
    options: Mapping[str, Any]
    num_classes: int | None
    batch_norm_scale: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments that only this family has."""
        return dict(self.options) | ({"batch_norm_scale": True} if self.batch_norm_scale else {})

    @property
    def scale_last_layer(self) -> bool | None:
        """Whether the multiplier scaled the last convolution; None where the family's default holds."""
        return self.options.get("scale_last_layer")


def recognise(shapes: Mapping[str, tuple], source: str) -> Network:
    """Returns the network whose variables have these names and shapes.

    Where no multiplier gives all the widths (a variable is misshapen), the one that gives the most is taken, so that
    the accounting that follows can name the odd ones.

    Args:
        shapes: ``{slim variable name: shape}``.
        source: what to call the checkpoint in an error.

    Raises:
        ConversionError: no variable is in the scope of a known network.
    """
    families = Counter(family for name in shapes for family, scope in SCOPES.items() if name.startswith(scope + "/"))
    if not families:
        raise ConversionError(no_network(shapes, source))
    family = families.most_common(1)[0][0]
    choices = _closest_options(family, shapes)
    observed = observed_widths(family, shapes, choices[0])
    if not observed:
        raise ConversionError(f"{source} holds variables of {SCOPES[family]}, but no weights of its convolutions.")
    multiplier, options = max(
        _candidates(family, observed, choices), key=lambda candidate: matches(family, observed, *candidate)
    )
    if matches(family, observed, multiplier, options) < len(observed):
        refuse_detection(family, observed, options, source)
    scaled = family == "inception_v2" and any(name.endswith("/BatchNorm/gamma") for name in shapes)
    return Network(family, multiplier, options, _num_classes(family, shapes), scaled)


def _closest_options(family: str, shapes: Mapping[str, tuple]) -> list[dict[str, Any]]:
    """Returns the options whose kernels have the names in ``shapes``, or those that come closest.

    Kernels have the same names where batch norms are folded.
    """
    choices = option_choices(family)
    kernels = _kernels(shapes)
    distances = [
        len(kernels ^ _kernels(mobilenets.variable_shapes(family, 1.0, None, **options))) for options in choices
    ]
    return [options for options, distance in zip(choices, distances, strict=True) if distance == min(distances)]


def _kernels(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.endswith("weights") and "/Logits/" not in name}


def image_channels(shapes: Mapping[str, tuple]) -> int:
    """Returns the channels of the images, from the kernel of the first convolution: 1 for grayscale, otherwise 3."""
    first = re.compile(rf"({'|'.join(SCOPES.values())})/(Conv2d_0|Conv|Conv2d_1a_7x7)/(weights|depthwise_weights)")
    return 1 if any(first.fullmatch(name) and shape[2:3] == (1,) for name, shape in shapes.items()) else 3


def observed_widths(family: str, shapes: Mapping[str, tuple], options: Mapping | None = None) -> dict[str, int]:
    """``{scope: output channels}`` of the convolutions whose width the multiplier decides, as far as they are there."""
    observed = {}
    for scope in mobilenets.widths(family, 1.0, **(options or {})):
        for leaf in ("weights", "pointwise_weights"):
            shape = shapes.get(f"{scope}/{leaf}")
            if shape and len(shape) == 4:
                observed[scope] = shape[-1]
    return observed


def matches(family: str, observed: Mapping[str, int], multiplier: float, options: Mapping) -> int:
    """Returns how many of the observed widths this multiplier gives."""
    widths = mobilenets.widths(family, multiplier, **options)
    return sum(widths[scope] == width for scope, width in observed.items())


def _candidates(
    family: str, observed: Mapping[str, int], choices: list[dict[str, Any]]
) -> Iterator[tuple[float, dict[str, Any]]]:
    """Multipliers to try, the simplest first, up to the first that explains every width.

    Many multipliers give the same widths (and so the same network); the published ones and short decimals come first.
    """
    for multiplier in _multipliers(observed, mobilenets.widths(family, 1.0, **choices[0])):
        for options in choices:
            yield multiplier, options
            if matches(family, observed, multiplier, options) == len(observed):
                return


def _multipliers(observed: Mapping[str, int], base: Mapping[str, int]) -> Iterator[float]:
    yield from PUBLISHED_MULTIPLIERS
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
