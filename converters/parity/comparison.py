"""Two comparisons, never mixed: weights bit for bit, outputs endpoint by endpoint with a tolerance."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from converters.reports.tables import report_text


@dataclass(frozen=True)
class WeightRow:
    """One variable: whether model and reference hold the same bits.

    Attributes:
        name: slim variable name.
        shape: of the reference, or of the model where the reference has none.
        finding: "equal", "missing in the model", "missing in the reference", "shape ..." or "N values differ".
        passed: whether it is equal.
    """

    name: str
    shape: tuple[int, ...]
    finding: str
    passed: bool


@dataclass(frozen=True)
class OutputRow:
    """One endpoint: how far the model is from the reference.

    Attributes:
        name: endpoint name, as the hub modules have it.
        shape: of the reference.
        max_absolute: largest absolute difference (NaN where the shapes differ).
        max_relative: the same, over the largest absolute value of the reference.
        top1_agreement: for logits, the share of images whose highest class is the same; None elsewhere.
        passed: whether ``max_relative`` is within the tolerance.
    """

    name: str
    shape: tuple[int, ...]
    max_absolute: float
    max_relative: float
    top1_agreement: float | None
    passed: bool


@dataclass(frozen=True)
class Report:
    """What a verification found; ``str(report)`` is a table.

    Attributes:
        comparison: "weights" or "outputs".
        model: what was verified.
        reference: what it was held against.
        rows: a `WeightRow` per variable or an `OutputRow` per endpoint, in the order of the network.
        tolerance: of outputs, relative to the endpoint's largest absolute value; None for weights.
        notes: sentences that the reader should know.
    """

    comparison: str
    model: str
    reference: str
    rows: tuple[WeightRow, ...] | tuple[OutputRow, ...]
    tolerance: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there is something to compare and all of it agrees."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def first_failure(self) -> WeightRow | OutputRow | None:
        """The first row that does not agree: later ones follow from it."""
        return next((row for row in self.rows if not row.passed), None)

    def to_json(self) -> str:
        """The report as JSON text."""
        first = self.first_failure
        return json.dumps(
            {
                "passed": self.passed,
                "comparison": self.comparison,
                "model": self.model,
                "reference": self.reference,
                "tolerance": self.tolerance,
                "first_failure": first.name if first else None,
                "notes": list(self.notes),
                "rows": [_json_row(row) for row in self.rows],
            },
            indent=1,
        )

    def __str__(self) -> str:
        return report_text(self)


def _json_row(row) -> dict:
    # JSON knows no NaN.
    return {key: None if value != value else value for key, value in dataclasses.asdict(row).items()}


def compare_weights(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[WeightRow, ...]:
    """A row per variable of either map; equal means the same shape and the same bits.

    Args:
        found: ``{slim name: array}`` of the model.
        expected: the same of the reference.
    """
    return tuple(_weight_row(name, found.get(name), expected.get(name)) for name in sorted({*found, *expected}))


def _weight_row(name, found, expected) -> WeightRow:
    if found is None or expected is None:
        there, side = (expected, "model") if found is None else (found, "reference")
        return WeightRow(name, there.shape, f"missing in the {side}", False)
    if found.shape != expected.shape:
        return WeightRow(name, expected.shape, f"shape {found.shape} in the model", False)
    # A float32 file in a float64 model: both as the wider of the two, which loses nothing.
    common = np.result_type(found, expected)
    differing = int((_bits(found.astype(common)) != _bits(expected.astype(common))).any(axis=1).sum())
    if not differing:
        return WeightRow(name, expected.shape, "equal", True)
    return WeightRow(name, expected.shape, f"{differing} of {expected.size} values differ", False)


def _bits(array: np.ndarray) -> np.ndarray:
    """The bytes of ``array``, a row per value."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.itemsize)


def compare_outputs(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float
) -> tuple[OutputRow, ...]:
    """A row per endpoint that both have, in the order of ``found``.

    Args:
        found: ``{endpoint name: array}`` of the model.
        expected: the same of the reference.
        tolerance: relative to the endpoint's largest absolute value.
    """
    return tuple(
        _output_row(name, np.asarray(found[name]), np.asarray(expected[name]), tolerance)
        for name in found
        if name in expected
    )


def _output_row(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> OutputRow:
    if found.shape != expected.shape:
        return OutputRow(name, expected.shape, float("nan"), float("nan"), None, False)
    absolute = float(np.abs(found - expected).max(initial=0))
    scale = float(np.abs(expected).max(initial=0))
    relative = absolute / scale if scale else absolute
    agreement = None
    if name.endswith("/Logits"):
        agreement = float((found.argmax(axis=-1) == expected.argmax(axis=-1)).mean())
    # Not `relative > tolerance`: a NaN fails.
    return OutputRow(name, expected.shape, absolute, relative, agreement, relative <= tolerance)
