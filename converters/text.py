"""Tables, shapes and foreign names as plain text."""

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from checkpoints.plain_text import printable

_WRAPPING: dict[str, Any] = {"break_on_hyphens": False}


def shape_text(shape: Iterable[int | None]) -> str:
    """Returns ``3x3x32`` for ``(3, 3, 32)``; "any" stands for a size that is not fixed, "scalar" for no sizes."""
    return "x".join("any" if size is None else str(size) for size in shape) or "scalar"


def brief(name: str) -> str:
    """Returns a name from a file as a message shows it: short, on one line, without control characters."""
    return printable(name[:200]) + ("..." if len(name) > 200 else "")


def facts_text(facts: Mapping[str, object], width: int | None = None) -> str:
    """Returns names and values as lines that fit a width; a value too long for its column has lines of its own.

    Args:
        facts: values by name, in which a line break begins a new line.
        width: in characters; by default that of the terminal.
    """
    width = width or terminal_width()
    labels = {name: name.replace("_", " ") for name in facts}
    indent = max(map(len, labels.values()), default=0) + 2
    lines = []
    for name, value in facts.items():
        texts = (f"{value:,}" if type(value) is int else str(value)).splitlines() or [""]
        longest = max((len(word) for text in texts for word in text.split()), default=0)
        margin = indent if longest <= width - indent else 2
        wrapped = [line for text in texts for line in textwrap.wrap(text, max(width - margin, 1), **_WRAPPING) or [""]]
        first = wrapped.pop(0) if margin == indent else ""
        lines += [f"{labels[name]:{indent}}{first}", *(f"{'':{margin}}{line}" for line in wrapped)]
    return "\n".join(line.rstrip() for line in lines)


def terminal_width() -> int:
    """Returns the number of columns: of ``COLUMNS`` or the terminal; 200 where standard output is none."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size((200, 24)).columns
    return 200


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
