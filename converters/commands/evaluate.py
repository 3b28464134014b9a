"""The command ``mobilenets evaluate``."""

import json
import pathlib
import sys
from typing import TYPE_CHECKING

import click

from converters.commands.completion import paths_and_names
from converters.commands.console import as_json, cache_option, echo, load_keras
from converters.commands.display import display_on_stderr
from converters.commands.images import (
    batch_size_option,
    existing_file,
    image_size_option,
    labels_option,
    open_model,
    print_broken,
    print_note,
    runtime_option,
)
from converters.commands.quiet import native_stderr_if_it_fails
from converters.sources import check_there

if TYPE_CHECKING:
    from converters.images.labelled import Labelled


@click.command("evaluate", short_help="Measure the accuracy of a model on labelled images.")
@click.argument("model", shell_complete=paths_and_names)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path))
@click.option(
    "--truth",
    "--labels-file",
    "labels_file",
    type=existing_file,
    help="The right answers, instead of class folders: one line per image, with its path in FOLDER and the index of "
    "its class. --labels-file is the old name.  [class folders]",
)
@labels_option
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="The file that keeps the counts while the command runs.  [in the cache folder]",
)
@image_size_option
@batch_size_option
@runtime_option
@cache_option
@as_json
def evaluate_command(model, folder, labels_file, labels, journal, image_size, batch_size, runtime, as_json):
    """Measure how often MODEL is right on the images in FOLDER/<class>/, and compare it with the published accuracy.

    The class folders are all named in the same way: by the index of the class (0389), by its label (giant_panda), or by
    its WordNet id (n02510455), also for a part of ImageNet's classes. If interrupted, run the same
    command again and it resumes. An image that cannot be read is not counted: the reason is printed, and the exit
    status is 1.
    """
    check_there(model)
    with display_on_stderr() as display:
        load_keras(display)
        import checkpoints
        import converters
        from converters.images.evaluation import journal_name

        opened = open_model(display, model, image_size, runtime)
        display.step("Looking for the images")
        images = _labelled_images(folder, labels_file, labels, opened.num_classes())
        if journal is None:
            journal = checkpoints.cache_folder() / journal_name(opened, images)
            journal.parent.mkdir(parents=True, exist_ok=True)
        display.step("Evaluating")
        with native_stderr_if_it_fails():  # of the runtimes
            result = converters.evaluate(
                opened,
                images,
                journal,
                batch_size=batch_size,
                progress=lambda done: display.images(done, len(images)),
                note=print_note,
            )
    print_broken(result.broken)
    facts = _accuracy(opened, result)
    echo(json.dumps(facts, indent=1) if as_json else _accuracy_text(facts))
    sys.exit(1 if result.broken else 0)


def _labelled_images(
    folder: pathlib.Path, labels_file: pathlib.Path | None, labels: pathlib.Path | None, num_classes: int
) -> "list[Labelled]":
    from converters.images import labelled
    from converters.images.labels import labels_of

    if labels_file:
        return labelled.labels_file(labels_file, folder, num_classes)
    return labelled.labelled_folder(folder, labels_of(num_classes, labels))


def _accuracy(opened, result) -> dict:
    from converters.images.evaluation import wilson_interval
    from converters.images.photographs import decoder

    facts = {
        "model": opened.name,
        "image_size": list(opened.image_size),
        "images": result.count,
        "broken": len(result.broken),
        "decoder": decoder(),
    }
    for what in ("top1", "top5"):
        right = getattr(result, what)
        low, high = wilson_interval(right, result.count)
        facts[what] = {"right": right, "percent": 100 * right / result.count, "interval95": [100 * low, 100 * high]}
        if opened.info:
            facts[what]["published"] = getattr(opened.info, what)
    if opened.info:
        facts["published_model"] = opened.info.name
    return facts


def _accuracy_text(facts: dict) -> str:
    from converters.text import facts_text, shape_text

    def line(what: str) -> str:
        low, high = facts[what]["interval95"]
        text = f"{facts[what]['percent']:.2f} % ({low:.2f} to {high:.2f} with 95 % confidence)"
        return f"{text}; published: {facts[what]['published']}" if "published" in facts[what] else text

    shown = {key: value for key, value in facts.items() if key not in ("top1", "top5")}
    shown["image_size"] = shape_text(facts["image_size"])
    return facts_text(shown | {"top-1": line("top1"), "top-5": line("top5")})
