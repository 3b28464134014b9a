"""What ``predict``, ``evaluate`` and ``embed`` share: options, the images, and the model.

They exit with 1 if any image could not be read.
"""

import pathlib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from converters.commands.console import ImageSize, echo
from converters.commands.display import Display
from converters.runtimes.table import CHOICES

if TYPE_CHECKING:
    from converters.images.image_paths import ImagePaths
    from converters.images.models import ImageModel

existing_file = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)
image_size_option = click.option(
    "--image-size",
    type=ImageSize(),
    help="224 or 192x160 (height x width), for a model that takes any.  [as trained]",
)
batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Number of images computed at a time."
)
runtime_option = click.option(
    "--runtime",
    type=click.Choice(CHOICES),
    default="auto",
    show_default=True,
    help="What computes the network; auto takes the fastest that is installed and exact enough.",
)
upright_option = click.option(
    "--upright", is_flag=True, help="Turn images upright by their EXIF orientation, which slim ignored."
)
list_option = click.option(
    "--list",
    "lists",
    multiple=True,
    type=existing_file,
    help="A file with the path of one image per line; may be repeated.  [none]",
)
labels_option = click.option("--labels", type=existing_file, help="A file with one label per line.  [ImageNet's]")


def check_image_size(image_size: tuple[int, int] | None, images: tuple[str, ...]) -> None:
    """Refuses a size without images: noise has the size that model and reference take.

    Raises:
        click.UsageError: There is a size, and no image.
    """
    if image_size and not images:
        raise click.UsageError("--image-size is the size of --images, which are missing.")


def image_paths(images: tuple[str, ...], lists: tuple[pathlib.Path, ...]) -> "ImagePaths":
    """Returns the images that a command line names.

    Raises:
        click.UsageError: It names none.
        ValueError: A folder holds no image, or a glob matches nothing.
    """
    from converters.images.image_paths import ImagePaths

    if not images and not lists:
        raise click.UsageError("Name an image, a folder or a glob, or give --list.")
    return ImagePaths(images, lists)


def open_model(display: Display, model: str, image_size: tuple[int, int] | None, runtime: str) -> "ImageModel":
    """Opens a model, downloads it first if it is published, and prints the notes on its conversion."""
    from converters.errors import ConversionWarning
    from converters.images.models import open_image_model

    display.step(f"Opening {model}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)  # The notes are printed below.
        opened = open_image_model(model, image_size, display.downloaded, runtime)
    for note in opened.notes:
        print_note(note)
    return opened


def print_note(sentence: str) -> None:
    """Prints a note on standard error."""
    echo(f"Note: {sentence}", err=True)


def print_skipped(paths: "ImagePaths") -> dict[str, int]:
    """Prints and returns how many other files the folders hold, by suffix."""
    skipped = paths.skipped()
    if skipped:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in skipped.items())
        print_note(f"The folders hold other files, which are not read: {counts}.")
    return skipped


def print_broken(broken: Iterable) -> None:
    """Prints why each of these images could not be read."""
    for entry in broken:
        echo(f"Broken: {entry.reason}", err=True)
