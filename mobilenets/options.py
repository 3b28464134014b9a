"""The arguments that all constructors share, checked."""

import math
import operator
from dataclasses import dataclass
from typing import Any, TypeGuard

HEADS = ("classification", "feature_vector", "feature_map")
SMALLEST_IMAGE = 32
PADDINGS = ("same", "explicit")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The common arguments of the constructors.

    Attributes:
        depth_multiplier: factor of all widths, above 0.
        input_shape: (height, width, channels), sizes from 32 up or None, channels 3 (RGB) or 1 (grayscale).
        head: one of `HEADS`.
        num_classes: classes of the logits.
        first_stride: stride of the first convolution, 1 or 2.
        batch_norm_momentum: momentum of the moving statistics, in [0, 1).
        bessel_correction: whether moving variances use the unbiased variance of a batch.
        weight_decay: L2 strength as slim counts it; None or 0 for no such losses.
        dropout_rate: rate of the dropout before the logits, in [0, 1).
        rescale_inputs: whether images are in [0, 1] rather than [-1, 1].
        padding: one of `PADDINGS`.

    Raises:
        ValueError: for the first argument that is out of range.
    """

    depth_multiplier: float
    input_shape: tuple[int | None, int | None, int]
    head: str
    num_classes: int
    first_stride: int
    batch_norm_momentum: float
    bessel_correction: bool
    weight_decay: float | None
    dropout_rate: float
    rescale_inputs: bool
    padding: str = "same"

    def __post_init__(self) -> None:
        if not (_is_number(self.depth_multiplier) and 0 < self.depth_multiplier < math.inf):
            raise ValueError(f"depth_multiplier must be a number above 0, not {self.depth_multiplier!r}.")
        if not _is_image_shape(self.input_shape):
            raise ValueError(
                f"input_shape must be (height, width, 3 or 1) with sizes of at least {SMALLEST_IMAGE} or None, "
                f"not {self.input_shape!r}."
            )
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, not {self.head!r}.")
        if not (is_integer(self.num_classes) and self.num_classes >= 1):
            raise ValueError(f"num_classes must be an integer of at least 1, not {self.num_classes!r}.")
        if not (is_integer(self.first_stride) and self.first_stride in (1, 2)):
            raise ValueError(f"first_stride must be 1 or 2, not {self.first_stride!r}.")
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, not {self.padding!r}.")
        check_momentum(self.batch_norm_momentum)
        if self.weight_decay is not None and not (_is_number(self.weight_decay) and 0 <= self.weight_decay < math.inf):
            raise ValueError(f"weight_decay must be None or a number of at least 0, not {self.weight_decay!r}.")
        if not (_is_number(self.dropout_rate) and 0 <= self.dropout_rate < 1):
            raise ValueError(f"dropout_rate must lie in [0, 1), not {self.dropout_rate!r}.")


def check_momentum(momentum: float) -> None:
    """Raises a ValueError if a batch norm cannot have this momentum."""
    if not (_is_number(momentum) and 0 <= momentum < 1):
        raise ValueError(f"batch_norm_momentum must lie in [0, 1), not {momentum!r}.")


def check_output_stride(output_stride: object, network: str) -> None:
    """Raises a ValueError if a network of inverted residual blocks cannot have this output stride."""
    even = is_integer(output_stride) and output_stride > 0 and output_stride % 2 == 0
    if output_stride not in (None, 1) and not even:
        raise ValueError(f"output_stride of {network} must be None, 1 or an even number, not {output_stride!r}.")


def is_integer(value: object) -> TypeGuard[int]:
    """Returns whether `value` is an integer of Python or NumPy, and not a bool."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return not isinstance(value, bool)


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False


def _is_image_shape(shape: Any) -> bool:
    try:
        *sizes, depth = shape
    except (TypeError, ValueError):
        return False
    sizes_fit = all(size is None or (is_integer(size) and size >= SMALLEST_IMAGE) for size in sizes)
    return len(sizes) == 2 and sizes_fit and is_integer(depth) and depth in (1, 3)
