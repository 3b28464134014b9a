"""The command ``mobilenets convert``."""

import json
import pathlib
import time

import click
import lazy_loader

from converters.commands.console import Mismatch, as_json, working
from converters.commands.fetch import download_bar
from converters.sources import source_of
from converters.staging import check_model_path

converters = lazy_loader.load("converters")
mobilenets = lazy_loader.load("mobilenets")


class ImageSize(click.ParamType):
    """``224``, ``192x160`` (height x width) or ``any``."""

    name = "SIZE"

    def convert(self, value, param, ctx):
        if value == "any":
            return None, None, 3
        try:
            height, width = map(int, value.split("x")) if "x" in value else (int(value), int(value))
        except ValueError:
            self.fail(f"{value!r} is not a size such as 224, 192x160 or any.", param, ctx)
        return height, width, 3


@click.command("convert", short_help="Make a Keras model of a checkpoint, or of a published model.")
@click.argument("source")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=pathlib.Path), help="The .keras file to write."
)
@click.option("--name", help="The published model that SOURCE is; gives the image size, and is checked.")
@click.option("--head", type=click.Choice(["classification", "feature_vector", "feature_map"]))
@click.option("--image-size", type=ImageSize(), help="224, 192x160 (height x width) or any.")
@click.option("--depth-multiplier", type=float, help="What you expect SOURCE to be; an error if it is not.")
@click.option("--num-classes", type=int, help="A new classification layer for so many classes.")
@click.option(
    "--ema",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Take averaged values: where SOURCE has them for all, or fail without them, or not at all.",
)
@click.option("--strict", is_flag=True, help="Fail on NaN or infinity in a weight.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Load what was saved and compare it with SOURCE before OUTPUT gets its name: weights bit for bit, and outputs "
    "where SOURCE is or holds a graph that can be run.",
)
@click.option("--partial", is_flag=True, help="Accept a graph that has fewer than half of the model's endpoints.")
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
@as_json
def convert_command(
    source, output, name, head, image_size, depth_multiplier, num_classes, ema, strict, verify, partial, force, as_json
):
    """Convert SOURCE, a file of slim variables, to a Keras model and its manifest.

    SOURCE is a checkpoint (prefix, one of its files, its folder, a .tgz), a frozen graph (.pb), an .h5 file, a TF-Hub
    module (its folder or .tar.gz), or the name of a published model, whose checkpoint is fetched. The saved model is
    compared with SOURCE: weights bit for bit, outputs at every endpoint where SOURCE is a graph or a module or holds
    one next to its checkpoint, and, of a published model, the checksums in its hub module where they are known. Where
    a comparison fails, the exit status is 1 and nothing is written.
    """
    start = time.monotonic()
    overrides = {"depth_multiplier": depth_multiplier, "num_classes": num_classes}
    given = {key: value for key, value in overrides.items() if value is not None}
    check_model_path(output, force)
    with download_bar(source) as progress:
        path = source_of(source, progress)
    if path is not source:
        name, source = name or source, path

    with working("Loading TensorFlow and Keras") as say:
        say(f"Converting {source}")
        conversion = converters.conversion_of(
            source, name=name, head=head, input_shape=image_size, ema=ema, strict=strict, **given
        )
        say(f"Writing {'and verifying ' * verify}{output}")
        try:
            manifest = converters.save_model(conversion, output, force, verify=verify, partial=partial)
        except converters.VerificationError as error:
            click.echo(error.reports[-1].to_json() if as_json else str(error.reports[-1]))
            raise Mismatch(str(error)) from error
    for note in conversion.notes:
        click.echo(f"Note: {note}", err=True)
    facts = {"output": str(output), "seconds": round(time.monotonic() - start, 2)}
    click.echo(json.dumps(facts | manifest, indent=1) if as_json else _as_table(conversion, manifest, facts))


def _as_table(conversion, manifest, facts):
    from converters.manifest import manifest_path
    from converters.text import facts_table, text_of

    compared = {part: "\n".join([found["result"], *found["notes"]]) for part, found in manifest["verification"].items()}
    compared["manifest"] = str(manifest_path(facts["output"]))
    return text_of(facts_table(conversion.facts() | facts | compared))
