"""A verification as one web page that needs nothing else: no network, no scripts, no other file."""

import functools
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2

import checkpoints
from converters.parity.report import Report
from converters.parity.report_text import output_cells, verdict
from converters.parity.rows import OutputRow
from converters.text import shape_text

TEMPLATE = pathlib.Path(__file__).with_name("report.html.jinja")

# In pixels; across, the plot is as wide as the page.
PLOT_HEIGHT, MARGIN = 240.0, 26.0


def html_report(report: Report, provenance: Mapping[str, Mapping[str, object]]) -> str:
    """Returns a report as the text of an HTML page: verdict, what was compared, plot, table, provenance.

    Args:
        report: what `converters.verify` returned.
        provenance: heading -> name -> value, as `converters.reports.provenance.provenance_of` gives it.
    """
    return _template().render(
        report=report,
        # Every other piece is a number such as 1e-05, which is not to be broken at the end of a line.
        verdict=re.split(r"(\d[\d.]*e-\d+)", verdict(report).split(": ", 1)[1]),
        failed=[row for row in report.rows if not row.passed],
        plot=plot_of(report.output_rows) if report.output_rows else None,
        provenance=provenance,
        shape_text=shape_text,
        output_cells=output_cells,
        css_class={True: "passed", False: "failed"},
    )


def write_html_report(report: Report, provenance: Mapping[str, Mapping[str, object]], path: str | pathlib.Path) -> None:
    """Writes `html_report`'s page, whole or not at all.

    Raises:
        checkpoints.CheckpointError: the folder does not exist or cannot be written.
    """
    with checkpoints.replacing(path) as file:
        pathlib.Path(file).write_text(html_report(report, provenance), encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    # Names of variables and files come from outside, so everything is escaped.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


class Point(NamedTuple):
    """An endpoint in the plot: `x` in percent of the width; `y`, `rounding` and `bound` in pixels from the top."""

    row: OutputRow
    x: float
    y: float
    rounding: float
    bound: float

    @property
    def title(self) -> str:
        """What the page shows when the pointer rests on it."""
        row = self.row
        if row.shape != row.model_shape:
            return f"{row.name}: {shape_text(row.shape)} in the reference, {shape_text(row.model_shape)} in the model"
        if math.isnan(row.reference_error):
            return f"{row.name}: not a number"
        return f"{row.name}: error {row.reference_error:.2e}, rounding {row.rounding:.2e}, allowed {row.bound:.2e}"


class Line(NamedTuple):
    """A line of the plot and its label; `at` as the x or the y of a `Point`."""

    label: str
    at: float


class Plot(NamedTuple):
    """Errors along the network, from the first endpoint to the last, on a log scale."""

    height: float
    base: float
    half_step: float
    decades: list[Line]
    points: list[Point]
    parts: list[Line]


def plot_of(rows: Sequence[OutputRow]) -> Plot:
    """Places endpoints: equal ones at the very bottom, those without a finite error at the very top."""
    values = (value for row in rows for value in (row.reference_error, row.rounding, row.bound))
    shown = [value for value in values if 0 < value < math.inf]
    low = math.floor(math.log10(min(shown, default=1)))
    high = max(math.ceil(math.log10(max(shown, default=1))), low + 1)
    base = PLOT_HEIGHT - MARGIN

    def y(value: float) -> float:
        if value == 0:
            return PLOT_HEIGHT - MARGIN / 2
        if not value < math.inf:
            return MARGIN / 2
        return round(base - (math.log10(value) - low) / (high - low) * (base - MARGIN), 1)

    # At most seven lines, so that their labels stay apart.
    decades = range(low, high + 1, math.ceil((high - low) / 7))
    # On the left there is room for those labels.
    step = 86 / len(rows)
    places = [round(12 + step * (index + 0.5), 2) for index in range(len(rows))]
    parts = [row.name.rpartition(": ")[0] for row in rows]
    return Plot(
        height=PLOT_HEIGHT,
        base=base,
        half_step=step / 2,
        decades=[Line(f"1e{power:+03d}", y(10.0**power)) for power in decades],
        points=[
            Point(row, x, y(row.reference_error), y(row.rounding), y(row.bound))
            for row, x in zip(rows, places, strict=True)
        ],
        # A hub module is run more than once; the names of its rows begin with "training: " and so on.
        parts=[Line(parts[i], places[i]) for i in range(1, len(rows)) if parts[i] != parts[i - 1] and parts[i]],
    )
