"""The command ``mobilenets convert``."""

import json
import pathlib
import time

import click
import lazy_loader

from converters.commands.console import Mismatch, as_json, working
from converters.commands.fetch import download_bar
from converters.fetching import source_of
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
    default=None,
    help="Load what was saved and hold it against SOURCE, bit for bit, before OUTPUT gets its name.  "
    "[for a published model by its name: --verify]",
)
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
@as_json
def convert_command(
    source, output, name, head, image_size, depth_multiplier, num_classes, ema, strict, verify, force, as_json
):
    """Convert SOURCE, a file of slim variables, to a Keras model and its manifest.

    SOURCE is a checkpoint (prefix, one of its files, its folder, a .tgz), a frozen graph (.pb), an .h5 file, a TF-Hub
    module (its folder or .tar.gz), or the name of a published model: its checkpoint is fetched, and the saved model is
    held against it and, where they are known, against the checksums in the published hub module. Where that fails, the
    exit status is 1 and nothing is written.
    """
    start = time.monotonic()
    overrides = {"depth_multiplier": depth_multiplier, "num_classes": num_classes}
    given = {key: value for key, value in overrides.items() if value is not None}
    check_model_path(output, force)
    with download_bar(source) as progress:
        path = source_of(source, progress)
    if path is not source:
        name, source = name or source, path
        verify = verify is not False
    reports = []

    with working("Loading TensorFlow and Keras") as say:
        say(f"Converting {source}")
        conversion = converters.conversion_of(
            source, name=name, head=head, input_shape=image_size, ema=ema, strict=strict, **given
        )

        def check(file):
            if not verify:
                return
            say(f"Verifying {output}")
            report = _held_against_source(file, str(output), conversion, source, name)
            reports.append(report)
            if wrong := sum(not row.passed for row in report.rows):
                raise Mismatch(
                    f"{output} was not written: {wrong} of {len(report.rows)} variables of the saved file are not what "
                    "they should be (--no-verify writes it all the same)."
                )

        say(f"Writing {output}")
        try:
            manifest = converters.save_model(conversion, output, force, check)
        except Mismatch:
            click.echo(reports[0].to_json() if as_json else str(reports[0]))
            raise
    for note in conversion.notes:
        click.echo(f"Note: {note}", err=True)
    seconds = time.monotonic() - start
    show = _as_json if as_json else _as_table
    click.echo(show(conversion, manifest, str(output), seconds, *reports))


def _held_against_source(file, output, conversion, source, name):
    """The report on a saved model, loaded again, against what it was converted from."""
    from converters.manifest import open_keras_file
    from converters.parity.weights import verify_saved

    found = converters.slim_variables(open_keras_file(file))
    published = mobilenets.get_model_info(name).name if name else None
    return verify_saved(output, found, source, conversion.averaged > 0, published)


def _as_json(conversion, manifest, output, seconds, report=None):
    facts = {"output": output, "seconds": round(seconds, 2)}
    if report:
        compared = {"passed": True, "variables": len(report.rows), "notes": list(report.notes)}
        facts["verification"] = {"reference": report.reference} | compared
    return json.dumps(facts | manifest, indent=1)


def _as_table(conversion, manifest, output, seconds, report=None):
    from converters.reports.tables import facts_table, text_of

    shown = conversion.facts() | {"output": output}
    if report:
        equal = f"{len(report.rows)} variables of the saved file equal the source's bit for bit"
        shown["verified"] = "\n".join([equal, *report.notes])
    return text_of(facts_table(shown | {"seconds": f"{seconds:.1f}"}))
