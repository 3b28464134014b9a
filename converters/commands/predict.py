"""The command ``mobilenets predict``."""

import json
import sys
from itertools import islice

import click

from converters.commands.completion import paths, paths_and_names
from converters.commands.console import as_json, cache_option, echo, load_keras
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
from converters.commands.quiet import native_stderr_if_it_fails
from converters.sources import check_there


@click.command("predict", short_help="Print the likeliest classes of images.")
@click.argument("model", shell_complete=paths_and_names)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=paths)
@list_option
@labels_option
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Number of classes per image.")
@image_size_option
@batch_size_option
@runtime_option
@upright_option
@cache_option
@as_json
def predict_command(model, images, lists, labels, top, image_size, batch_size, runtime, upright, as_json):
    """Print the likeliest classes of images, and their probabilities.

    MODEL is a .keras file, a checkpoint, or the name of a published model, which is downloaded. IMAGE is a file (JPEG,
    PNG, GIF, BMP, WebP, TIFF or AVIF), a folder, or a glob in quotes. If an image cannot be read, the reason is
    printed, the other images are classified, and the exit status is 1.
    """
    check_there(model)
    paths = image_paths(images, lists)
    with display_on_stderr() as display:
        answers = _kept_answers(display, model, image_size, runtime, labels, paths, top, batch_size, upright)
        if answers is not None:
            any_broken = _print_answers(*answers, len(answers[0]), display, as_json)
        else:
            any_broken = _keras_answers(
                display, model, image_size, runtime, labels, paths, top, batch_size, upright, as_json
            )
    print_skipped(paths)
    sys.exit(1 if any_broken else 0)


def _kept_answers(display, model, image_size, runtime, labels, paths, top, batch_size, upright):
    """The answers and the labels, by a network that an earlier run kept; None if there is none for these images."""
    from converters.images.kept_classifier import MOST_IMAGES, find_classifier

    few = list(islice(paths, MOST_IMAGES + 1))
    display.step(f"Opening {model}")
    kept = find_classifier(model, image_size, runtime, display.downloaded) if len(few) <= MOST_IMAGES else None
    if kept is None:
        return None
    with native_stderr_if_it_fails():
        answers = kept.answers(few, top, batch_size, upright)
    if answers is None:
        return None
    from converters.images.labels import labels_of
    from converters.images.orientation import turned_note

    predictions, turned = answers
    names = labels_of(kept.num_classes, labels)
    for sentence in filter(None, (*kept.notes, kept.note(), turned_note(turned, upright))):
        print_note(sentence)
    return predictions, names


def _keras_answers(display, model, image_size, runtime, labels, paths, top, batch_size, upright, as_json) -> bool:
    """Prints the answers of the model itself, and keeps its network for later runs."""
    load_keras(display)
    import converters
    from converters.images.kept_classifier import is_worth_keeping, keep_classifier
    from converters.images.labels import labels_of
    from converters.images.pipeline import first_images

    opened = open_model(display, model, image_size, runtime)
    names = labels_of(opened.num_classes(), labels)
    display.step("Predicting")
    total = sum(1 for _ in paths)
    first = first_images(paths, opened.image_size, turn=upright, channels=opened.channels)
    with native_stderr_if_it_fails():
        logits = opened.logits(first, total)
    for sentence in logits.notes:
        print_note(sentence)
    answers = converters.predict(opened, paths, top, batch_size, logits, upright, print_note)
    any_broken = _print_answers(answers, names, total, display, as_json)
    if opened.channels == 3 and len(first) and is_worth_keeping(model, image_size, runtime, paths):
        display.step("Converting the network for the next run")
        sys.stdout.flush()
        with native_stderr_if_it_fails():
            keep_classifier(opened, image_size, first)
    return any_broken


def _print_answers(answers, names: tuple[str, ...], total: int, display, as_json: bool) -> bool:
    """Prints each answer when it is there; returns whether an image could not be read."""
    if sys.stdout.isatty():
        display.hide()  # The answers themselves show the progress.
    any_broken, separator = False, "[\n"
    for number, answer in enumerate(answers, 1):
        broken = hasattr(answer, "reason")
        if broken:
            any_broken = True
            print_broken([answer])
        if as_json:
            echo(separator + json.dumps(_facts(answer, names)), nl=False)
            separator = ",\n"
        elif not broken:
            echo(_text(answer, names))
        display.images(number, total)
    if as_json:
        echo("\n]" if separator != "[\n" else "[]")
    return any_broken


def _text(prediction, names: tuple[str, ...]) -> str:
    """Returns the path of an image, and a line for each class."""
    lines = (f"  {guess.probability:7.2%}  {guess.index:4d}  {names[guess.index]}" for guess in prediction.guesses)
    return "\n".join([prediction.path, *lines])


def _facts(answer, names: tuple[str, ...]) -> dict:
    """Returns a prediction or a broken image as JSON values."""
    if hasattr(answer, "reason"):
        return {"path": answer.path, "error": answer.reason}
    guesses = [
        {"class": guess.index, "label": names[guess.index], "probability": guess.probability}
        for guess in answer.guesses
    ]
    return {"path": answer.path, "predictions": guesses}
