"""What a section found, and how it is written down: JSON with every figure, Markdown for people."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound that a figure is to keep: at most ``bound``, or at least where ``at_least`` is set."""

    what: str
    found: float
    bound: float
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def row(self) -> Row:
        bound = f"{'at least' if self.at_least else 'at most'} {number(self.bound)} {self.unit}"
        return {
            "target": self.what,
            "bound": bound,
            "measured": f"{number(self.found)} {self.unit}",
            "met": "yes" if self.met else "**no**",
        }


@dataclasses.dataclass(frozen=True)
class Result:
    """Of one section.

    Attributes:
        section: its name.
        method: a sentence or two on what was done.
        tables: caption -> rows, for people.
        measurements: all figures, a row each.
        targets: the bounds, and whether they are met.
        left_out: contender -> why.
        machine: as `machine.describe` gives it.
        headline: Markdown for the project's own README; nothing of it goes there without one.
    """

    section: str
    method: str
    tables: Mapping[str, Sequence[Row]] = dataclasses.field(default_factory=dict)
    measurements: Sequence[Row] = ()
    targets: Sequence[Target] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    machine: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headline: str = ""

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        del values["headline"]  # its figures are among the measurements
        values["targets"] = [dataclasses.asdict(target) | {"met": target.met} for target in self.targets]
        return json.dumps(values, indent=1) + "\n"

    def to_markdown(self) -> str:
        """The tables, what was left out, and the machine."""
        parts = [self.method]
        if self.targets:
            parts.append(markdown_table([target.row() for target in self.targets]))
        parts += [f"**{caption}**\n\n{markdown_table(rows)}" for caption, rows in self.tables.items()]
        if self.left_out:
            parts.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in self.left_out.items()) + ".")
        if self.machine:
            parts.append("Machine: " + "; ".join(f"{fact} {value}" for fact, value in self.machine.items()) + ".")
        return "\n\n".join(parts) + "\n"


def number(value: object) -> str:
    """About three significant digits, or all before the point; anything but a float as it is, and nothing for None."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{decimals}f}"


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows whose keys are the columns; a row may lack some. Numbers are right-aligned."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[number(row.get(column)) for column in columns] for row in rows]
    numeric = [all(isinstance(row.get(column), int | float | None) for row in rows) for column in columns]
    lines = [columns, ["---:" if right else "---" for right in numeric], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pivot(rows: Sequence[Row], index: str, column: str, value: str) -> list[Row]:
    """A row per value of ``index``, a column per value of ``column``, both in the order of their first appearance."""
    table: dict[object, dict[str, object]] = {}
    columns = dict.fromkeys(str(row[column]) for row in rows)
    for row in rows:
        table.setdefault(row[index], {index: row[index], **columns})[str(row[column])] = row[value]
    return list(table.values())


def write(result: Result, folder: pathlib.Path) -> None:
    """Writes ``<section>.json`` and ``<section>.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.section}.json").write_text(result.to_json())
    (folder / f"{result.section}.md").write_text(result.to_markdown())


def with_section(page: str, section: str, text: str) -> str:
    """The page with the text between the section's two markers replaced.

    Raises:
        ValueError: the page lacks the markers.
    """
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"The page has no place for {section!r}: the markers {begin} and {end}.")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", page, count=1)
