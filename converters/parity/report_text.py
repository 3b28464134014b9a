"""A report as people read it in a terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Column, Table

from converters.parity.rows import OutputRow, WeightRow
from converters.text import plain_table, right, shape_text, text_of

if TYPE_CHECKING:
    from converters.parity.report import Report

WORST = 5
MOST_VARIABLES = 20
WITH_ALL = "mobilenets convert and verify print them with --verbose"


def report_text(report: "Report", every_row: bool = True, width: int = 200) -> str:
    """Returns a report of `converters.verify` as text: the verdict, notes, a table, and the verdict again.

    Args:
        report: on weights or outputs.
        every_row: whether the table has all endpoints, or only those that differ and the five worst; and all variables
            that differ, or only the first 20.
        width: of the table, in characters.
    """
    outputs = report.output_rows if every_row else _failures_and_worst(report.output_rows)
    weights = [row for row in report.weight_rows if not row.passed]
    if not outputs and not weights:
        return "\n".join([verdict(report), *report.notes])
    shown = weights if every_row else weights[:MOST_VARIABLES]
    left_out = {
        "more rows agree": len(report.output_rows) - len(outputs),
        "more variables differ": len(weights) - len(shown),
    }
    more = [f"{count} {what} ({WITH_ALL})." for what, count in left_out.items() if count]
    table = text_of(_outputs(report, outputs, width) if outputs else _weights(shown), width)
    return "\n".join([verdict(report), *report.notes, table, *more, verdict(report)])


def _failures_and_worst(rows: Sequence[OutputRow]) -> Sequence[OutputRow]:
    """Returns the rows that differ and the five closest to their bounds, in the order of the network."""
    worst = sorted(rows, key=lambda row: -row.reference_error / row.bound if row.bound else 0.0)[:WORST]
    return [row for row in rows if not row.passed or row in worst]


def verdict(report: "Report") -> str:
    """Returns one sentence: what was compared with what, and the result."""
    failed = sum(not row.passed for row in report.rows)
    agree = f"{len(report.rows) - failed} of {len(report.rows)}"
    head = f"{'PASSED' if report.passed else 'FAILED'}: {report.model} against {report.reference}: "
    if report.comparison == "weights":
        layers = sum(row.name.startswith("layer ") for row in report.rows)
        variables = len(report.rows) - layers
        equal = sum(row.passed for row in report.rows)
        structure = f", and {layers} layers differ" if layers else ""
        return head + f"{equal} of {variables} variables are equal bit for bit{structure}."
    few = ""
    if report.endpoints is not None and report.compared < report.endpoints:
        few = f" ({report.compared} of the model's {report.endpoints} endpoints compared)"
    if report.agreement:
        cosine = report.least_similar.cosine if report.rows else float("nan")
        top1 = next((row.top1_agreement for row in report.output_rows if row.top1_agreement is not None), None)
        classes = "" if top1 is None else f", and top-1 is the same on {top1:.0%}"
        return f"{head}agreement, not parity: {agree} endpoints agree{few}; the least cosine is {cosine:.4f}{classes}."
    finite = [row for row in report.output_rows if row.reference_error == row.reference_error]
    worst = max(finite, key=lambda row: row.reference_error / row.bound if row.bound else 0.0, default=None)
    if worst is None:
        return head + f"{agree} endpoints agree{few}."
    return head + (
        f"{agree} endpoints agree{few}; the worst is {worst.reference_error:.2g} from the exact model, "
        f"and {worst.bound:.2g} is allowed."
    )


COLUMNS = ("endpoint", "shape", "reference\nerror", "rounding", "allowed", "this\nmodel", "cosine", "top-1", "")
DISPENSABLE = ("this\nmodel", "rounding", "shape")
"""Columns that a narrow terminal does without, after empty ones and the cosine where it decides nothing."""
GAP = 3


def _outputs(report: "Report", rows: Sequence[OutputRow], width: int) -> Table:
    first = report.first_failure
    marks = ["" if row.passed else "FAILED" + (" <- first" if row is first else "") for row in rows]
    cells = [(*output_cells(row), mark) for row, mark in zip(rows, marks, strict=True)]
    longest = [
        max(map(len, (*name.split(), *texts))) for name, texts in zip(COLUMNS, zip(*cells, strict=True), strict=True)
    ]
    kept = [number for number, name in enumerate(COLUMNS) if any(row[number] for row in cells)]
    for name in (*(() if report.agreement else ("cosine",)), *DISPENSABLE):
        if sum(longest[number] + GAP for number in kept) <= width:
            break
        kept = [number for number in kept if COLUMNS[number] != name]
    # The last word of a failure is cut off before the name of an endpoint is.
    fits = sum(longest[number] + GAP for number in kept) <= width
    endpoint = Column("endpoint", overflow="fold", min_width=longest[0] if fits else None)
    names = [COLUMNS[number] for number in kept[1:]]
    table = plain_table(endpoint, *(name if name in ("shape", "") else right(name) for name in names))
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(*(texts[number] for number in kept), style=None if row.passed else "red")
    return table


def output_cells(row: OutputRow) -> tuple[str, ...]:
    """Returns the figures of an endpoint as texts: name, shape, errors, bound, cosine similarity, top-1 agreement."""
    shape = shape_text(row.shape)
    if row.shape != row.model_shape:
        shape = f"{shape}, model {shape_text(row.model_shape)}"
    agreement = "" if row.top1_agreement is None else f"{row.top1_agreement:.0%}"
    errors = (row.reference_error, row.rounding, row.bound, row.model_error)
    return row.name, shape, *map(_error_text, errors), _cosine_text(row.cosine), agreement


def _error_text(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.1e}"


def _cosine_text(value: float) -> str:
    return "" if value != value else f"{value:.6f}"


def _weights(rows: Iterable[WeightRow]) -> Table:
    table = plain_table("variable", "shape", "finding")
    for row in rows:
        table.add_row(row.name, shape_text(row.shape), row.finding, style="red")
    return table
