"""What all commands share: errors as sentences, JSON, image sizes, and the loading of Keras."""

import contextlib

import click

from converters.commands.display import Display
from converters.commands.quiet import import_keras_quietly
from mobilenets.backend import check_backend

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

allow_unpinned = click.option(
    "--allow-unpinned", is_flag=True, help="Accept an archive of a published model with another sha256 than the pinned."
)


class UnusableInput(click.ClickException):
    """One sentence on standard error and exit status 2."""

    exit_code = 2


class Mismatch(click.ClickException):
    """One sentence on standard error and exit status 1: a comparison failed."""

    exit_code = 1


@contextlib.contextmanager
def unusable_input_as_sentence():
    """Turns the errors that input causes into a sentence instead of a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UnusableInput(str(error)) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorflow":
            raise
        raise UnusableInput(
            "This needs TensorFlow, which is not installed: pip install 'mobilenets[tensorflow]'."
        ) from error


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

    def invoke(self, ctx):
        with unusable_input_as_sentence():
            return super().invoke(ctx)


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
