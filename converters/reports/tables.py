"""What people read: reports and lists as plain tables."""

import io
from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console
from rich.table import Column, Table

from mobilenets import ModelInfo


def report_text(report) -> str:
    """A report of `converters.parity` as text: verdict first, then a row per endpoint (or per differing variable)."""
    rows = report.rows if report.comparison == "outputs" else [row for row in report.rows if not row.passed]
    parts = [verdict(report), *report.notes]
    if rows:
        parts.append(text_of(_outputs(report) if report.comparison == "outputs" else _weights(rows)))
    return "\n".join(parts)


def verdict(report) -> str:
    """One sentence: what was compared with what, and how it came out."""
    failed = sum(not row.passed for row in report.rows)
    what = "endpoints" if report.comparison == "outputs" else "variables"
    head = f"{'PASSED' if report.passed else 'FAILED'}: {report.model} against {report.reference}: "
    if report.comparison == "weights":
        return head + f"{len(report.rows) - failed} of {len(report.rows)} {what} are equal bit for bit."
    worst = max((row.max_relative for row in report.rows if row.max_relative == row.max_relative), default=0.0)
    return head + (
        f"{len(report.rows) - failed} of {len(report.rows)} {what} agree within {report.tolerance:g} of their largest "
        f"absolute value; the worst differs by {worst:.2g}."
    )


def _outputs(report) -> Table:
    table = _table("endpoint", "shape", *(_right(name) for name in ("max absolute", "max relative", "top-1")), "")
    first = report.first_failure
    for row in report.rows:
        mark = "" if row.passed else "FAILED" + (" <- first beyond the tolerance" if row is first else "")
        table.add_row(*_output_cells(row), mark, style=None if row.passed else "red")
    return table


def _output_cells(row) -> tuple[str, ...]:
    agreement = "" if row.top1_agreement is None else f"{row.top1_agreement:.0%}"
    return row.name, shape_text(row.shape), f"{row.max_absolute:.2e}", f"{row.max_relative:.2e}", agreement


def _weights(rows) -> Table:
    table = _table("variable", "shape", "finding")
    for row in rows:
        table.add_row(row.name, shape_text(row.shape), row.finding, style="red")
    return table


def models_table(infos: Iterable[ModelInfo]) -> Table:
    """The published models, a row each."""
    right = ("size", "features", "parameters", "MACs (M)", "top-1 %", "top-5 %")
    table = _table("name", _right("multiplier"), *map(_right, right))
    for info in infos:
        size = f"{info.image_size}{'' if info.fixed_image_size else ' (any)'}"
        numbers = (f"{info.parameters:,}", f"{info.macs / 1e6:.1f}", f"{info.top1}", f"{info.top5}")
        table.add_row(info.name, f"{info.depth_multiplier:g}", size, str(info.num_features), *numbers)
    return table


def facts_table(facts: Mapping[str, object]) -> Table:
    """Names and values, a row each."""
    table = _table(show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
    return table


def shape_text(shape) -> str:
    """``(3, 3, 32)`` -> ``3x3x32``."""
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"


def _table(*columns, **options) -> Table:
    return Table(*columns, box=box.SIMPLE, pad_edge=False, **options)


def _right(name: str) -> Column:
    return Column(name, justify="right")


def text_of(table: Table) -> str:
    """A rich table as plain text, as wide as it needs to be."""
    stream = io.StringIO()
    Console(file=stream, width=200, color_system=None).print(table)
    return stream.getvalue().rstrip()
