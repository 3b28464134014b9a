"""The plot of latency per model."""

import pathlib
from collections.abc import Sequence

from benchmarks.results import Row, number

COLOURS = {"mobilenets": "#1b6ca8", "keras.applications": "#d1721f", "slim": "#7a7a7a", "transformers": "#8b3fa0"}


def draw(rows: Sequence[Row], path: pathlib.Path) -> None:
    """Writes a PNG: a panel per work and batch, a point per contender (median, with quartiles), the fastest on top.

    Args:
        rows: as `latency.measure_work` makes them.
        path: the file.
    """
    from matplotlib.figure import Figure

    works = list(dict.fromkeys(row["work"] for row in rows))
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    figure = Figure(figsize=(7 * len(batches), 3.6 * len(works)), layout="constrained")
    panels = figure.subplots(len(works), len(batches), squeeze=False)
    for line, work in zip(panels, works, strict=True):
        for panel, batch in zip(line, batches, strict=True):
            _panel(
                panel, f"{work}, batch {batch}", [r for r in rows if (r["work"], r["batch"]) == (work, batch)], batch
            )
    figure.savefig(path, dpi=100)


def _panel(panel, title: str, rows: Sequence[Row], batch: int) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    rows = sorted(rows, key=lambda row: row["median ms"], reverse=True)
    for height, row in enumerate(rows):
        lower, median, upper = (row[column] / batch for column in ("q1 ms", "median ms", "q3 ms"))
        colour = COLOURS[row["contender"].partition(":")[0]]
        panel.errorbar(median, height, xerr=[[median - lower], [upper - median]], fmt="o", color=colour, capsize=3)
        panel.annotate(number(median), (upper, height), (6, 0), textcoords="offset points", va="center", fontsize=8)
    panel.set_yticks(range(len(rows)), [row["contender"] for row in rows])
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(axis="x", alpha=0.3)
    panel.set(title=title, xlabel="ms per image")
    panel.margins(x=0.12, y=0.06)
    panel.spines[["top", "right"]].set_visible(False)
