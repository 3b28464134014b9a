"""What all commands share: output, errors as sentences, JSON, image sizes, and the loading of Keras."""

import contextlib
import errno
import json
import os
import re
import sys
from typing import TYPE_CHECKING

import click

from checkpoints import CheckpointError, shown
from checkpoints.cache_path import CACHE_VARIABLE
from converters.commands.display import Display
from converters.commands.quiet import import_keras_quietly
from mobilenets.backend import check_backend

if TYPE_CHECKING:
    from converters.parity.report import Report

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

allow_unpinned = click.option(
    "--allow-unpinned", is_flag=True, help="Accept an archive of a published model with another sha256 than the pinned."
)


def _use_cache(ctx: click.Context, _: click.Parameter, folder: str | None) -> None:
    """Sets the environment variable of the cache while the command runs."""
    if folder is not None:
        before = {key: value for key, value in os.environ.items() if key == CACHE_VARIABLE}
        os.environ[CACHE_VARIABLE] = folder
        ctx.call_on_close(lambda: (os.environ.pop(CACHE_VARIABLE, None), os.environ.update(before)))


cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False),
    expose_value=False,
    callback=_use_cache,
    help=f"The folder that keeps fetched files.  [{CACHE_VARIABLE}, or the platform's folder for caches]",
)


_COLOURS = {"PASSED": "green", "FAILED": "red"}
_VERDICT = re.compile(r"^(?:PASSED|FAILED)(?=:)", re.MULTILINE)


class UnusableInput(click.ClickException):
    """One sentence on standard error and exit status 2."""

    exit_code = 2


class Mismatch(click.ClickException):
    """One sentence on standard error and exit status 1: a comparison failed.

    Attributes:
        printed: whether the report is on standard output already.
    """

    exit_code = 1

    def __init__(self, message: str, printed: bool = False):
        super().__init__(message)
        self.printed = printed


INTERRUPTED = 130  # as a shell reports a program that Ctrl-C ended
TRACEBACK_VARIABLE = "MOBILENETS_TRACEBACK"


def _coloured(verdict: re.Match[str]) -> str:
    return click.style(verdict[0], fg=_COLOURS[verdict[0]], bold=True)


def echo(text: object, err: bool = False, nl: bool = True) -> None:
    """Prints a text, with control characters from outside escaped and without the secrets of URLs.

    A verdict is in colour on a terminal, unless the environment variable ``NO_COLOR`` is set.
    """
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    printed = shown(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    if stream is not None and stream.isatty() and not os.environ.get("NO_COLOR"):
        printed = _VERDICT.sub(_coloured, printed)
    click.echo(printed, err=err, nl=nl)


def echo_report(report: "Report", every_row: bool) -> None:
    """Prints a report; on a terminal without ``every_row`` only the rows that matter most."""
    from converters.parity.report_text import report_text
    from converters.text import terminal_width

    echo(report_text(report, every_row or not sys.stdout.isatty(), terminal_width()))


@contextlib.contextmanager
def unusable_input_as_sentence():
    """Turns errors into a sentence instead of a traceback.

    An error that no input should cause is one of the program; the environment variable ``MOBILENETS_TRACEBACK`` shows
    where.
    """
    try:
        yield
    except click.ClickException as error:
        error.message = shown(error.message)
        raise
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None) == errno.EPIPE:
            raise  # what reads the output has ended; click exits without a word
        raise UnusableInput(_sentence(error)) from error
    except MemoryError as error:
        raise UnusableInput("The memory is too small for this input.") from error
    except RuntimeError as error:
        if isinstance(error, click.exceptions.Exit | click.Abort):
            raise
        raise _unexpected(error) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorflow":
            raise _unexpected(error) from error
        raise UnusableInput(
            "This needs TensorFlow, which is not installed: pip install 'mobilenets[tensorflow]'."
        ) from error
    except Exception as error:
        raise _unexpected(error) from error


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and not isinstance(error, CheckpointError) and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "The output"
        return shown(f"{name} cannot be read or written: {error.strerror}.")
    return shown(str(error))


def _unexpected(error: Exception) -> click.ClickException:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    line = shown((str(error).strip() or "no message").splitlines()[0], keep="").rstrip(".")
    return UnusableInput(
        f"An unexpected {type(error).__name__}: {line}. {TRACEBACK_VARIABLE}=1 shows where; please report it."
    )


def open_closed_streams() -> None:
    """Opens the standard streams that the caller has closed, so that no file gets their numbers.

    Else native code would write its messages into such a file, and a right model would fail without a word.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


@contextlib.contextmanager
def all_differences(verbose):
    """With ``verbose``, an error about variables that do not fit lists all of them."""
    try:
        yield
    except ValueError as error:
        if not verbose or not hasattr(error, "differences"):
            raise
        raise UnusableInput(error.text(most=None)) from error


class Program(click.Group):
    """A group whose commands report unusable input as a sentence."""

    def main(self, *args, **kwargs):
        open_closed_streams()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx, args):
        ctx.meta["json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        try:
            with unusable_input_as_sentence():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except click.ClickException as error:
            if ctx.meta["json"] and not getattr(error, "printed", False):
                echo(json.dumps({"error": error.format_message(), "exit_status": error.exit_code}))
            raise


class ImageSize(click.ParamType):
    """``224`` or ``192x160`` (height x width), as ``(height, width)``; with ``or_any`` also ``any``: two None."""

    name = "SIZE"

    def __init__(self, or_any: bool = False):
        self.or_any = or_any

    def convert(self, value, param, ctx):
        """Reads the text."""
        if isinstance(value, tuple):
            return value
        if value == "any" and self.or_any:
            return None, None
        height, _, width = value.partition("x")
        try:
            size = int(height), int(width or height)
        except ValueError:
            size = 0, 0
        if min(size) < 1 or value.endswith("x"):
            self.fail(f"{value!r} is not a size such as 224{', 192x160 or any' if self.or_any else ' or 192x160'}.")
        return size


def load_keras(display: Display) -> None:
    """Imports Keras and its backend, as the current step.

    Raises:
        UnusableInput: the backend is not installed.
    """
    try:
        check_backend()
    except ImportError as error:
        raise UnusableInput(str(error)) from error
    display.step("Loading Keras")
    import_keras_quietly()
