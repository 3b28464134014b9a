"""Two comparisons, never mixed: weights bit for bit, outputs endpoint by endpoint."""

from collections.abc import Mapping

import numpy as np

from converters.background import aligned_output, lacks_background
from converters.parity.exact import Exact, relative_error
from converters.parity.rows import REGULARIZATION, OutputRow, WeightRow
from converters.weights import is_logits, is_narrower

# A reference agrees where its error is within FACTOR times the rounding of float32 at that endpoint, or within
# FLOORS. Measured on real weights (three MobileNet V1 checkpoints, two hub modules, several images): right references
# are at most 1.9 x max(rounding, 2.5e-6) from the exact values, and wrong ones are orders of magnitude beyond.
FACTOR = 4.0
FLOORS = {"float32": 1e-5, "float64": 1e-12}
# Where float32 loses more than this, it cannot tell right from wrong.
CEILING = 0.05
# Sums of squares of weights: no convolution amplifies their rounding.
REGULARIZATION_FLOOR = 1e-6


def compare_weights(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[WeightRow, ...]:
    """Returns a row per variable of either map; equal means the same shape and the same bits.

    Args:
        found: ``{slim name: array}`` of the model.
        expected: the same of the reference.
    """
    return tuple(_weight_row(name, found.get(name), expected.get(name)) for name in sorted({*found, *expected}))


def _weight_row(name, found, expected) -> WeightRow:
    if found is None or expected is None:
        present, side = (expected, "model") if found is None else (found, "reference")
        return WeightRow(name, present.shape, f"missing in the {side}", False)
    if is_logits(name) and lacks_background(found.shape, expected.shape):
        expected = expected[..., 1:]
    if found.shape != expected.shape:
        return WeightRow(name, expected.shape, f"shape {found.shape} in the model", False)
    # A float32 file in a float64 model: both as the wider of the two, which loses nothing.
    common = np.result_type(found, expected)
    if is_narrower(found.dtype, expected.dtype):
        rounded = expected.astype(found.dtype)
        if (_bits(rounded) == _bits(found)).all():
            return WeightRow(name, expected.shape, f"equal, rounded to {found.dtype}", True)
    differing = int((_bits(found.astype(common)) != _bits(expected.astype(common))).any(axis=1).sum())
    if not differing:
        return WeightRow(name, expected.shape, "equal", True)
    return WeightRow(name, expected.shape, f"{differing} of {expected.size} values differ", False)


def _bits(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of ``array``, a row per value."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.itemsize)


def compare_outputs(
    exact: Exact,
    reference: Mapping[str, np.ndarray],
    dtype: str = "float32",
    tolerance: float | None = None,
) -> tuple[OutputRow, ...]:
    """Returns a row per output that exact model and reference both have, in the order of the network.

    Args:
        exact: from `converters.parity.exact.exact_values`.
        reference: ``{name: array}`` of the reference, under the same names.
        dtype: "float32" or "float64", in which the reference computes; it chooses the floor of the bounds.
        tolerance: replaces every bound.
    """
    return tuple(
        _output_row(
            name,
            exact.values[name],
            exact.rounding[name],
            np.asarray(reference[name]),
            exact.own.get(name),
            tolerance if tolerance is not None else _bound(name, exact.rounding[name], dtype),
        )
        for name in exact.values
        if name in reference
    )


def _bound(name: str, rounding: float, dtype: str) -> float:
    floor = REGULARIZATION_FLOOR if name == REGULARIZATION else FLOORS[dtype]
    return max(floor, min(FACTOR * rounding, CEILING)) if np.isfinite(rounding) else floor


def _output_row(name, exact, rounding, reference, model, bound) -> OutputRow:
    reference = aligned_output(name, reference, exact.shape)
    if exact.shape != reference.shape:
        nan = float("nan")
        return OutputRow(name, reference.shape, exact.shape, nan, rounding, bound, None, nan, nan, None, False)
    error = relative_error(reference, exact)
    agreement = None
    if name.endswith("/Logits"):
        classes = exact if model is None else model
        agreement = float((classes.argmax(axis=-1) == reference.argmax(axis=-1)).mean())
    return OutputRow(
        name=name,
        shape=reference.shape,
        model_shape=exact.shape,
        reference_error=error,
        rounding=rounding,
        bound=bound,
        model_error=None if model is None else relative_error(np.asarray(model), exact),
        max_absolute=float(np.abs(reference.astype(np.float64) - exact).max(initial=0)),
        cosine=_cosine(reference.astype(np.float64).ravel(), exact.ravel()),
        top1_agreement=agreement,
        # Not `error > bound`: a NaN fails.
        passed=error <= bound,
    )


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else float(not (one.any() or other.any()))
