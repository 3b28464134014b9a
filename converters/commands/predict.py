"""The command ``mobilenets predict``."""

import json
import sys

import click

from converters.commands.console import as_json, echo, load_keras
from converters.commands.display import display_on_stderr
from converters.commands.images import (
    batch_size_option,
    image_paths,
    image_size_option,
    labels_option,
    list_option,
    open_model,
    print_broken,
    print_note,
    print_skipped,
    runtime_option,
    upright_option,
)


@click.command("predict", short_help="Print the likeliest classes of images.")
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@list_option
@labels_option
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Number of classes per image.")
@image_size_option
@batch_size_option
@runtime_option
@upright_option
@as_json
def predict_command(model, images, lists, labels, top, image_size, batch_size, runtime, upright, as_json):
    """Print the likeliest classes of images, and their probabilities.

    MODEL is a .keras file, a checkpoint, or the name of a published model, which is downloaded. IMAGE is a file (JPEG,
    PNG, GIF, BMP, WebP, TIFF or AVIF), a folder, or a glob in quotes. If an image cannot be read, the reason is
    printed, the other images are classified, and the exit status is 1.
    """
    paths = image_paths(images, lists)
    any_broken = False
    with display_on_stderr() as display:
        load_keras(display)
        import converters
        from converters.images.labels import labels_of
        from converters.images.pipeline import Broken, first_images

        opened = open_model(display, model, image_size, runtime)
        names = labels_of(opened.num_classes(), labels)
        display.step("Predicting")
        total = sum(1 for _ in paths)
        logits = opened.logits(first_images(paths, opened.image_size, turn=upright, channels=opened.channels), total)
        for sentence in logits.notes:
            print_note(sentence)
        if sys.stdout.isatty():
            display.hide()  # The answers themselves show the progress.
        separator = "[\n"
        answers = converters.predict(opened, paths, top, batch_size, logits, upright, print_note)
        for number, answer in enumerate(answers, 1):
            if isinstance(answer, Broken):
                any_broken = True
                print_broken([answer])
            if as_json:
                echo(separator + json.dumps(_facts(answer, names)), nl=False)
                separator = ",\n"
            elif not isinstance(answer, Broken):
                echo(_text(answer, names))
            display.images(number, total)
        if as_json:
            echo("\n]" if separator != "[\n" else "[]")
    print_skipped(paths)
    sys.exit(1 if any_broken else 0)


def _text(prediction, names: tuple[str, ...]) -> str:
    """The path of an image, and a line for each class."""
    lines = (f"  {guess.probability:7.2%}  {guess.index:4d}  {names[guess.index]}" for guess in prediction.guesses)
    return "\n".join([prediction.path, *lines])


def _facts(answer, names: tuple[str, ...]) -> dict:
    """A prediction or a broken image as JSON values."""
    if hasattr(answer, "reason"):
        return {"path": answer.path, "error": answer.reason}
    guesses = [
        {"class": guess.index, "label": names[guess.index], "probability": guess.probability}
        for guess in answer.guesses
    ]
    return {"path": answer.path, "predictions": guesses}
