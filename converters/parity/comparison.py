"""Two comparisons, never mixed: weights bit for bit, outputs endpoint by endpoint."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from converters.parity.exact import REGULARIZATION, Exact, relative_error

# A reference agrees where its error is within FACTOR times the rounding of float32 at that endpoint, or within
# FLOORS. Measured on real weights (three MobileNet V1 checkpoints, two hub modules, several images): right references
# are at most 1.9 x max(rounding, 2.5e-6) from the exact values, and wrong ones are orders of magnitude beyond.
FACTOR = 4.0
FLOORS = {"float32": 1e-5, "float64": 1e-12}
# Where float32 loses more than this, it cannot tell right from wrong.
CEILING = 0.05
# Sums of squares of weights: no convolution amplifies their rounding.
REGULARIZATION_FLOOR = 1e-6
# Below this share of the model's endpoints, a comparison says too little to be called passed.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class WeightRow:
    """One variable (or one layer whose structure differs): whether model and reference are equal.

    Attributes:
        name: slim variable name, or ``layer <slim scope>``.
        shape: of the reference, or of the model where the reference has none.
        finding: "equal", "missing in the model", "missing in the reference", "shape ..." or "N values differ"; of a
            layer, both descriptions.
        passed: whether it is equal.
    """

    name: str
    shape: tuple[int, ...]
    finding: str
    passed: bool


@dataclass(frozen=True)
class OutputRow:
    """One endpoint: how far the reference is from the exact model, and how far it may be.

    Attributes:
        name: endpoint name, as hub modules have it.
        shape: of the reference.
        model_shape: of the model.
        reference_error: ``max|R - E| / max|E|``, R the reference and E the exact model (NaN where the shapes differ).
        rounding: the same of our model in float32 on TensorFlow.
        bound: what ``reference_error`` may be: the larger of the floor and 4 x ``rounding``, or the user's tolerance.
        model_error: the same error of the model as it is, with its own dtype policy and backend; None in training
            mode, where it is not computed.
        max_absolute: ``max|R - E|``.
        cosine: cosine similarity of reference and exact model.
        top1_agreement: for logits, the share of images whose highest class is the same; None elsewhere.
        passed: whether ``reference_error`` is within ``bound``.
    """

    name: str
    shape: tuple[int, ...]
    model_shape: tuple[int, ...]
    reference_error: float
    rounding: float
    bound: float
    model_error: float | None
    max_absolute: float
    cosine: float
    top1_agreement: float | None
    passed: bool

    @property
    def max_relative(self) -> float:
        """The former name of `reference_error`."""
        return self.reference_error


@dataclass(frozen=True)
class Report:
    """The result of a verification; ``str(report)`` is a table.

    Attributes:
        comparison: "weights" or "outputs".
        model: what was verified.
        reference: what it was compared with.
        rows: a `WeightRow` per variable (and per layer whose structure differs) or an `OutputRow` per endpoint, in
            the order of the network.
        tolerance: of outputs: the least bound of an endpoint, relative to its largest absolute value; None for
            weights.
        notes: sentences that the reader should know.
        endpoints: how many endpoints the model has in inference mode; None for weights.
        partial: whether a comparison of fewer than half of them may pass.
    """

    comparison: str
    model: str
    reference: str
    rows: tuple[WeightRow, ...] | tuple[OutputRow, ...]
    tolerance: float | None = None
    notes: tuple[str, ...] = ()
    endpoints: int | None = None
    partial: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is enough to compare and all of it agrees."""
        return bool(self.rows) and self.enough and all(row.passed for row in self.rows)

    @property
    def compared(self) -> int:
        """How many of the model's endpoints (in inference mode) or variables were compared."""
        return sum(not row.name.startswith(("training: ", "after it: ", *_NO_ENDPOINTS)) for row in self.rows)

    @property
    def enough(self) -> bool:
        """Whether the reference has at least half of the model's endpoints, or fewer are allowed."""
        return self.endpoints is None or self.partial or self.compared >= LEAST_SHARE * self.endpoints

    @property
    def first_failure(self) -> WeightRow | OutputRow | None:
        """The first row that does not agree: later ones follow from it."""
        return next((row for row in self.rows if not row.passed), None)

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        first = self.first_failure
        return json.dumps(
            {
                "passed": self.passed,
                "comparison": self.comparison,
                "model": self.model,
                "reference": self.reference,
                "tolerance": self.tolerance,
                "endpoints_compared": None if self.endpoints is None else self.compared,
                "endpoints_of_the_model": self.endpoints,
                "first_failure": first.name if first else None,
                "notes": list(self.notes),
                "rows": [_json_row(row) for row in self.rows],
            },
            indent=1,
        )

    def __str__(self) -> str:
        from converters.reports.tables import report_text

        return report_text(self)


_NO_ENDPOINTS = ("default", "layer ", REGULARIZATION)


def _json_row(row) -> dict:
    # JSON has neither NaN nor infinity.
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in dataclasses.asdict(row).items()
    }


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
    if found.shape != expected.shape:
        return WeightRow(name, expected.shape, f"shape {found.shape} in the model", False)
    # A float32 file in a float64 model: both as the wider of the two, which loses nothing.
    common = np.result_type(found, expected)
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
    model: Mapping[str, np.ndarray],
    dtype: str = "float32",
    tolerance: float | None = None,
) -> tuple[OutputRow, ...]:
    """Returns a row per output that exact model and reference both have, in the order of the network.

    Args:
        exact: from `converters.parity.exact.exact_values`.
        reference: ``{name: array}`` of the reference, under the same names.
        model: the same of the model as it is; may lack names.
        dtype: "float32" or "float64", in which the reference computes; it chooses the floor of the bounds.
        tolerance: replaces every bound.
    """
    return tuple(
        _output_row(
            name,
            exact.values[name],
            exact.rounding[name],
            np.asarray(reference[name]),
            model.get(name),
            tolerance if tolerance is not None else _bound(name, exact.rounding[name], dtype),
        )
        for name in exact.values
        if name in reference
    )


def _bound(name: str, rounding: float, dtype: str) -> float:
    floor = REGULARIZATION_FLOOR if name == REGULARIZATION else FLOORS[dtype]
    return max(floor, min(FACTOR * rounding, CEILING)) if np.isfinite(rounding) else floor


def _output_row(name, exact, rounding, reference, model, bound) -> OutputRow:
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
