"""What a terminal shows while a command works: one line with a spinner, the current step, and how far it is."""

import contextlib
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from checkpoints import shown
from converters.commands.quiet import lasting_stderr


class Display:
    """The current step of a command, on standard error; silent if that is not a terminal.

    Example:
        >>> with display_on_stderr() as display:
        ...     display.step("Fetching mobilenet_v1_025_128")
        ...     checkpoints.fetch(url, progress=display.downloaded)
    """

    def __init__(self, stream: TextIO):
        console = Console(file=stream)
        self._progress = None
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), _Amount())
            # Standard output may be a file: it is left alone.
            self._progress = Progress(*columns, console=console, transient=True, redirect_stdout=False)
            self._progress.start()

    def step(self, text: str) -> None:
        """Names the step that begins now. Brackets are text, not markup."""
        self._show(shown(text, keep=""), None, 0, None)

    def downloaded(self, done: int, total: int | None) -> None:
        """Shows a bar of bytes next to the current step; a callback for `checkpoints.fetch`."""
        self._show(None, "bytes", done, total)

    def images(self, done: int, total: int | None = None) -> None:
        """Shows a bar of images next to the current step."""
        self._show(None, "images", done, total)

    def hide(self) -> None:
        """Removes the line from the terminal for good."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _show(self, text: str | None, unit: str | None, done: int, total: int | None) -> None:
        if not self._progress:
            return
        if text is not None:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
            self._progress.add_task(text, total=None, unit=unit)
            self._progress.refresh()
        elif self._progress.tasks:
            self._progress.update(self._progress.task_ids[-1], completed=done, total=total, unit=unit)


class _Amount(ProgressColumn):
    """A bar, the amount done and the time left; nothing for a step of unknown length."""

    def __init__(self):
        super().__init__()
        self._columns = {
            None: (),
            "bytes": (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
            "images": (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        }

    def render(self, task: Task) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_row(*(column(task) for column in self._columns[task.fields["unit"]]))
        return line


@contextlib.contextmanager
def display_on_stderr() -> Iterator[Display]:
    """Gives a display that lasts until the block ends, also while native code's standard error is redirected."""
    with lasting_stderr() as stream:
        display = Display(stream)
        try:
            yield display
        finally:
            display.hide()
