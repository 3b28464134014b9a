"""The archives of the published models, from the table that `checkpoints` keeps.

The packages do not import each other, so the table is read by its path.
"""

import csv
import functools
import pathlib
from dataclasses import dataclass

TABLE = pathlib.Path(__file__).parents[1] / "checkpoints" / "archives.csv"


@dataclass(frozen=True)
class Archive:
    """An archive of a published model.

    Attributes:
        url: where it was published.
        mirrors: further URLs, in the order to try.
        sha256: its sha256; None if it is not known.
        bytes: its size; None if it is not known.
        content: what it holds.
    """

    url: str
    mirrors: tuple[str, ...]
    sha256: str | None
    bytes: int | None
    content: str


@functools.cache
def archives() -> dict[str, tuple[Archive, ...]]:
    """Returns ``{name of a published model: its archives}``, the one that its hub modules' pages name first."""
    by_model: dict[str, tuple[Archive, ...]] = {}
    with TABLE.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            url, *mirrors = row["urls"].split()
            size = int(row["bytes"]) if row["bytes"] else None
            archive = Archive(url, tuple(mirrors), row["sha256"] or None, size, row["content"])
            by_model[row["model"]] = (*by_model.get(row["model"], ()), archive)
    return by_model
