"""The checks that all three constructors share."""

import math
import operator

HEADS = ("classification", "feature_vector", "feature_map")
SMALLEST_IMAGE = 32


def check_arguments(
    *,
    depth_multiplier: float,
    input_shape: tuple[int | None, int | None, int],
    head: str,
    num_classes: int,
    first_stride: int,
    batch_norm_momentum: float,
    weight_decay: float | None,
    dropout_rate: float,
) -> None:
    """Raises a ValueError that names the first argument out of its range."""
    if not (_is_number(depth_multiplier) and 0 < depth_multiplier < math.inf):
        raise ValueError(f"depth_multiplier must be a number above 0, not {depth_multiplier!r}.")
    if not _is_image_shape(input_shape):
        raise ValueError(
            f"input_shape must be (height, width, 3) with sizes of at least {SMALLEST_IMAGE} or None, "
            f"not {input_shape!r}."
        )
    if head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, not {head!r}.")
    if not (is_integer(num_classes) and num_classes >= 1):
        raise ValueError(f"num_classes must be an integer of at least 1, not {num_classes!r}.")
    if not (is_integer(first_stride) and first_stride in (1, 2)):
        raise ValueError(f"first_stride must be 1 or 2, not {first_stride!r}.")
    check_momentum(batch_norm_momentum)
    if weight_decay is not None and not (_is_number(weight_decay) and 0 <= weight_decay < math.inf):
        raise ValueError(f"weight_decay must be None or a number of at least 0, not {weight_decay!r}.")
    if not (_is_number(dropout_rate) and 0 <= dropout_rate < 1):
        raise ValueError(f"dropout_rate must lie in [0, 1), not {dropout_rate!r}.")


def check_momentum(momentum: float) -> None:
    """Raises a ValueError unless it can be the momentum of a batch norm."""
    if not (_is_number(momentum) and 0 <= momentum < 1):
        raise ValueError(f"batch_norm_momentum must lie in [0, 1), not {momentum!r}.")


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False


def is_integer(value: object) -> bool:
    """Whether it is an integer of Python or numpy, and no truth value."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _is_image_shape(shape: object) -> bool:
    try:
        *sizes, depth = shape
    except (TypeError, ValueError):
        return False
    sizes_fit = all(size is None or (is_integer(size) and size >= SMALLEST_IMAGE) for size in sizes)
    return len(sizes) == 2 and sizes_fit and depth == 3
