"""What all commands share: how they work, how they fail, how they speak to programs."""

import contextlib
import gc
import warnings
from collections.abc import Iterator

import click
from rich.console import Console

from converters.commands.quiet import import_tensorflow_quietly, lasting_stderr

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class UnusableInput(click.ClickException):
    """One sentence on standard error and exit status 2."""

    exit_code = 2


class Mismatch(click.ClickException):
    """One sentence on standard error and exit status 1: what was made is not what it should be."""

    exit_code = 1


@contextlib.contextmanager
def unusable_input_as_sentence():
    """Errors that input causes, as a sentence instead of a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UnusableInput(str(error)) from error


class Program(click.Group):
    """A group whose commands report unusable input as a sentence."""

    def invoke(self, ctx):
        with unusable_input_as_sentence():
            return super().invoke(ctx)


@contextlib.contextmanager
def working(first: str):
    """A spinner on standard error that tells the step in hand; silent where nobody watches."""
    with (
        lasting_stderr() as stderr,
        Console(file=stderr).status(first) as status,
        warnings.catch_warnings(),
        _without_garbage_collection(),
    ):
        warnings.simplefilter("ignore")
        import_tensorflow_quietly()
        yield status.update


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """What the imports make stays to the end; looking through it again and again takes a tenth of a command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
