"""Tables, shapes and foreign names as plain text."""

import io
from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console
from rich.table import Column, Table


def shape_text(shape: Iterable[int | None]) -> str:
    """Returns ``3x3x32`` for ``(3, 3, 32)``; "any" stands for a size that is not fixed, "scalar" for no sizes."""
    return "x".join("any" if size is None else str(size) for size in shape) or "scalar"


def few(names: Iterable[str], most: int) -> str:
    """Returns the first names, and how many more there are: ``a, b and 3 more``."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shown(name: str) -> str:
    """A name from a file, as it may stand in a message: short, on one line, without control characters."""
    text = "".join(character if character.isprintable() else "?" for character in name[:200])
    return text + "..." if len(name) > 200 else text


def facts_table(facts: Mapping[str, object]) -> Table:
    """Returns a table of names and values, a row each."""
    table = plain_table(show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
    return table


def plain_table(*columns: str | Column, **options) -> Table:
    """Returns an empty table with a line below its header and no other lines."""
    return Table(*columns, box=box.SIMPLE, pad_edge=False, **options)


def right(name: str) -> Column:
    """Returns a column of numbers."""
    return Column(name, justify="right")


def text_of(table: Table, width: int = 200) -> str:
    """Returns a table as text of at most so many characters a line; brackets in it are text, not markup."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
