"""The result of a comparison: a row per variable or endpoint, and the verdict."""

import dataclasses
import html
import json
import math
from dataclasses import dataclass

from converters.parity.report_text import report_text
from converters.parity.rows import REGULARIZATION, TRAINING, UPDATED, OutputRow, WeightRow

# Below this share of the model's endpoints, a comparison says too little to be called passed.
LEAST_SHARE = 0.5
_NO_ENDPOINTS = (TRAINING, UPDATED, REGULARIZATION, "default", "layer ")


@dataclass(frozen=True, repr=False)
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
        agreement: whether the reference computes with 8-bit integers, so that cosine similarity and top-1 decide, not
            the distance from the exact model: agreement, not parity.
    """

    comparison: str
    model: str
    reference: str
    rows: tuple[WeightRow, ...] | tuple[OutputRow, ...]
    tolerance: float | None = None
    notes: tuple[str, ...] = ()
    endpoints: int | None = None
    partial: bool = False
    agreement: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is enough to compare and all of it agrees."""
        return bool(self.rows) and self.enough and all(row.passed for row in self.rows)

    @property
    def weight_rows(self) -> tuple[WeightRow, ...]:
        """The rows of a comparison of weights; none for outputs."""
        return tuple(row for row in self.rows if isinstance(row, WeightRow))

    @property
    def output_rows(self) -> tuple[OutputRow, ...]:
        """The rows of a comparison of outputs; none for weights."""
        return tuple(row for row in self.rows if isinstance(row, OutputRow))

    @property
    def compared(self) -> int:
        """How many of the model's endpoints (in inference mode) or variables were compared."""
        return sum(not row.name.startswith(_NO_ENDPOINTS) for row in self.rows)

    @property
    def enough(self) -> bool:
        """Whether the reference has at least half of the model's endpoints, or fewer are allowed."""
        return self.endpoints is None or self.partial or self.compared >= LEAST_SHARE * self.endpoints

    @property
    def least_similar(self) -> OutputRow:
        """The row whose cosine similarity is the least, of those that it decides (the softmax follows the logits)."""
        rows = self.output_rows
        return min([row for row in rows if not row.name.endswith("/Predictions")] or rows, key=lambda row: row.cosine)

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

    def __repr__(self) -> str:
        """Returns the verdict in one line."""
        verdict, failed = ("PASSED", 0) if self.passed else ("FAILED", sum(not row.passed for row in self.rows))
        return (
            f"<Report {verdict}: {self.model} against {self.reference}, {self.comparison}, {len(self.rows)} rows"
            f"{f', {failed} differ' if failed else ''}>"
        )

    def _repr_html_(self) -> str:
        """Returns the verdict and the table, for notebooks."""
        verdict = "PASSED" if self.passed else "FAILED"
        return f"<p><b>{verdict}</b></p><details><summary>rows</summary><pre>{html.escape(str(self))}</pre></details>"

    def __str__(self) -> str:
        return report_text(self)


def _json_row(row: WeightRow | OutputRow) -> dict:
    # JSON has neither NaN nor infinity.
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(row).items()
    }
