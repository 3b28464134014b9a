"""The commands that look at images: ``mobilenets predict | evaluate | embed``.

Exit status, beyond the program's own: `predict` and `evaluate` end with 1 where an image could not be read, as not all
that was asked for was answered; `embed` skips such images as its work, and ends with 0.
"""

import contextlib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from converters.commands.console import as_json, working
from converters.commands.fetch import download_bar

existing_file = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)
image_size = click.option(
    "--image-size",
    type=click.IntRange(1),
    help="Height and width, for a model that takes any.  [as trained]",
)
batch_size = click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
image_list = click.option(
    "--list", "lists", multiple=True, type=existing_file, help="A file with the path of an image a line."
)
labels_option = click.option(
    "--labels", type=existing_file, help="A file with a label a line.  [ImageNet's, downloaded once]"
)


@click.command("predict", short_help="Tell what a model sees in images.")
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@image_list
@labels_option
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes of each image.")
@image_size
@batch_size
@as_json
def predict_command(model, images, lists, labels, top, image_size, batch_size, as_json):
    """Tell what MODEL sees in images: the likeliest classes and their probabilities.

    MODEL is a .keras file, a checkpoint, or the name of a published model, which is fetched. IMAGE is a file (JPEG,
    PNG, GIF or BMP), a folder, or a glob in quotes. An image that cannot be read is named, the others are answered,
    and the exit status is 1.
    """
    paths = _paths(images, lists)
    with _opened(model, image_size) as (loaded, say):
        from converters.images.labels import labels_of
        from converters.images.pipeline import Broken
        from converters.images.prediction import predict

        say("Looking for the labels")
        names, note = labels_of(loaded.num_classes(), labels)
    if note:
        click.echo(f"Note: {note} A file of them can be given by --labels.", err=True)
    answers = (_JsonAnswers if as_json else _TextAnswers)(names)
    broken = 0
    # Answers on a terminal tell themselves how far it is.
    with _bar("Predicting", sum(1 for _ in paths), shown=not sys.stdout.isatty()) as advance:
        for number, answer in enumerate(predict(loaded, paths, top, batch_size), 1):
            if isinstance(answer, Broken):
                broken += 1
                click.echo(f"Broken: {answer.reason}", err=True)
            answers.add(answer)
            advance(number)
    answers.end()
    sys.exit(1 if broken else 0)


@click.command("evaluate", short_help="Measure the accuracy, beside the published one.")
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path))
@click.option(
    "--labels-file", type=existing_file, help="Lines of a path from FOLDER on and the index of its class, instead."
)
@labels_option
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="The file that keeps the counts while it runs.  [in the cache folder]",
)
@image_size
@batch_size
@as_json
def evaluate_command(model, folder, labels_file, labels, journal, image_size, batch_size, as_json):
    """Measure how often MODEL is right on the images in FOLDER/<class>/, beside the published accuracy.

    All class folders are named in the same way: by the index of the class (0389), by its label (giant_panda), or by
    ImageNet's thousand WordNet ids (n01440764), whose sorted order is that of the classes. A run that is broken off
    goes on where it was when the command is run again. An image that cannot be read is named and left out of the
    counts, and the exit status is 1.
    """
    with _opened(model, image_size) as (loaded, say):
        import checkpoints
        from converters.images.evaluation import evaluate, journal_name
        from converters.images.labelled import labelled_folder
        from converters.images.labelled import labels_file as listed_images
        from converters.images.labels import labels_of

        say("Looking for the images")
        if labels_file:
            found = listed_images(labels_file, folder, loaded.num_classes())
        else:
            names, note = labels_of(loaded.num_classes(), labels)
            found = _labelled(labelled_folder, folder, names, note)
    if journal is None:
        journal = checkpoints.cache_folder() / journal_name(loaded, found)
        journal.parent.mkdir(parents=True, exist_ok=True)
    with _bar("Evaluating", len(found)) as advance:
        result = evaluate(loaded, found, journal, batch_size=batch_size, progress=advance)
    _name_broken(result.broken)
    facts = _accuracy(loaded, result)
    click.echo(json.dumps(facts, indent=1) if as_json else _accuracy_text(facts))
    sys.exit(1 if result.broken else 0)


@click.command("embed", short_help="Write the feature vectors of images to a file.")
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@image_list
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=pathlib.Path), help="The .parquet or .npz file to write."
)
@click.option("--force", is_flag=True, help="Replace OUTPUT, and the parts of another job for it.")
@image_size
@batch_size
@as_json
def embed_command(model, images, lists, output, force, image_size, batch_size, as_json):
    """Write the feature vectors that MODEL has of images to a file.

    IMAGE is a file, a folder, or a glob in quotes; any number will do. A run that is broken off goes on where it was
    when the command is run again: its parts lie in OUTPUT.parts until OUTPUT is whole. An image that cannot be read is
    skipped, named and counted.
    """
    paths = _paths(images, lists)
    with _opened(model, image_size, lambda: _check_output(output)) as (loaded, _):
        from converters.images.embedding import embed
    with _bar("Embedding", None) as advance:
        result = embed(loaded, paths, output, batch_size=batch_size, force=force, progress=advance)
    _name_broken(result.broken)
    facts = {
        "output": str(result.output),
        "images": result.count,
        "features": result.num_features,
        "broken": len(result.broken),
        "done_by_an_earlier_run": result.resumed,
    }
    if as_json:
        facts["broken"] = [entry._asdict() for entry in result.broken]
        click.echo(json.dumps(facts, indent=1))
    else:
        from converters.text import facts_table, text_of

        click.echo(text_of(facts_table(facts)))


def _paths(images: tuple[str, ...], lists: tuple[pathlib.Path, ...]):
    from converters.images.files import ImagePaths

    if not images and not lists:
        raise click.UsageError("Name an image, a folder or a glob, or give --list.")
    return ImagePaths(images, lists)


def _check_output(output: pathlib.Path) -> None:
    from converters.images.embedding import check_features_path

    check_features_path(output)


@contextlib.contextmanager
def _opened(model: str, image_size: int | None, check: Callable[[], None] = lambda: None) -> Iterator[tuple]:
    """The model, and what tells people the step in hand."""

    with working("Loading TensorFlow and Keras") as say:
        from converters.images.models import open_image_model

        check()
        say(f"Opening {model}")
    with download_bar(model) as progress:
        loaded = open_image_model(model, image_size, progress)
    with working("Working") as say:
        yield loaded, say


def _labelled(labelled_folder: Callable, folder: pathlib.Path, names: tuple[str, ...], note: str | None) -> list:
    try:
        return labelled_folder(folder, names)
    except ValueError as error:
        # Numbers in place of labels may be why.
        raise ValueError(f"{error} {note}" if note and "named like" in str(error) else str(error)) from error


@contextlib.contextmanager
def _bar(what: str, total: int | None, shown: bool = True) -> Iterator[Callable]:
    """Give a callback that takes how many are done (and of how many); silent where nobody watches."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda done, total=None: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, total=total: bar.update(task, completed=done, total=total)


def _name_broken(broken: tuple) -> None:
    for entry in broken:
        click.echo(f"Broken: {entry.reason}", err=True)


class _TextAnswers:
    """A path and a table below it, for each image."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names

    def add(self, answer) -> None:
        if hasattr(answer, "reason"):
            return
        click.echo(answer.path)
        for guess in answer.guesses:
            click.echo(f"  {guess.probability:7.2%}  {guess.index:4d}  {self.names[guess.index]}")

    def end(self) -> None:
        pass


class _JsonAnswers:
    """One JSON list with an object for each image, written as they come."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.before = "[\n"

    def add(self, answer) -> None:
        facts = {"path": answer.path}
        if hasattr(answer, "reason"):
            facts["error"] = answer.reason
        else:
            facts["predictions"] = [
                {"class": guess.index, "label": self.names[guess.index], "probability": guess.probability}
                for guess in answer.guesses
            ]
        click.echo(self.before + json.dumps(facts), nl=False)
        self.before = ",\n"

    def end(self) -> None:
        click.echo("\n]")


def _accuracy(loaded, result) -> dict:
    from converters.images.evaluation import wilson_interval

    facts = {
        "model": loaded.name,
        "image_size": loaded.image_size,
        "images": result.count,
        "broken": len(result.broken),
    }
    for what in ("top1", "top5"):
        right = getattr(result, what)
        low, high = wilson_interval(right, result.count)
        facts[what] = {"right": right, "percent": 100 * right / result.count, "interval95": [100 * low, 100 * high]}
        if loaded.info:
            facts[what]["published"] = getattr(loaded.info, what)
    if loaded.info:
        facts["published_model"] = loaded.info.name
    return facts


def _accuracy_text(facts: dict) -> str:
    from converters.text import facts_table, text_of

    def line(what: str) -> str:
        found = facts[what]
        low, high = found["interval95"]
        text = f"{found['percent']:.2f} % ({low:.2f} to {high:.2f} with 95 % confidence)"
        return f"{text}; published: {found['published']}" if "published" in found else text

    shown = {key: value for key, value in facts.items() if key not in ("top1", "top5")}
    return text_of(facts_table(shown | {"top-1": line("top1"), "top-5": line("top5")}))
