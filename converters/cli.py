"""The command line: ``mobilenets list | info | fetch | convert | verify | export | predict | evaluate | embed``.

Exit status: 0 for success, 1 where a verification fails, 2 for unusable input, with one sentence on standard error.
TensorFlow and Keras are imported by the commands that need them, so that ``--help`` answers at once.
"""

import json
import pathlib
import sys
import time

import click
import lazy_loader

from converters.commands.console import Mismatch, Program, as_json, working
from converters.commands.export import export_command
from converters.commands.fetch import download_bar, fetch_command
from converters.commands.info import info_command
from converters.commands.predict import embed_command, evaluate_command, predict_command
from converters.fetching import source_of
from converters.staging import check_model_path

checkpoints = lazy_loader.load("checkpoints")
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


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mobilenets")
def main():
    """Google's MobileNet V1, V2 and Inception V2 in Keras 3: convert TF-Slim checkpoints and verify the result.

    \b
    Begin with
        mobilenets convert mobilenet_v2_035_96 -o model.keras
        mobilenets predict model.keras photo.jpg
    """


@main.command("list")
@click.option("--family", type=click.Choice(["mobilenet_v1", "mobilenet_v2", "inception_v2"]))
@as_json
def list_command(family, as_json):
    """List the 39 published models."""
    from converters.reports.tables import models_table, text_of

    infos = [mobilenets.get_model_info(name) for name in mobilenets.list_models(family)]
    click.echo(json.dumps([info.to_dict() for info in infos], indent=1) if as_json else text_of(models_table(infos)))


@main.command("convert", short_help="Make a Keras model of a checkpoint, or of a published model.")
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
    report = None

    def hold(file):
        """The saved model against its source."""
        from converters.manifest import open_keras_file
        from converters.parity.weights import verify_saved

        nonlocal report
        say(f"Verifying {output}")
        found = converters.slim_variables(open_keras_file(file))
        published = mobilenets.get_model_info(name).name if name else None
        report = verify_saved(str(output), found, source, conversion.averaged > 0, published)
        if not report.passed:
            wrong = sum(not row.passed for row in report.rows)
            raise Mismatch(
                f"{output} was not written: {wrong} of {len(report.rows)} variables of the saved file are not what "
                "they should be (--no-verify writes it all the same)."
            )

    with working("Loading TensorFlow and Keras") as say:
        from converters.reports.tables import facts_table, text_of

        say(f"Converting {source}")
        conversion = converters.conversion_of(
            source, name=name, head=head, input_shape=image_size, ema=ema, strict=strict, **given
        )
        say(f"Writing {output}")
        try:
            manifest = converters.save_model(conversion, output, force, hold if verify else lambda file: None)
        except Mismatch:
            click.echo(report.to_json() if as_json else str(report))
            raise
    for note in conversion.notes:
        click.echo(f"Note: {note}", err=True)
    seconds = time.monotonic() - start
    if as_json:
        facts = {"output": str(output), "seconds": round(seconds, 2)}
        if report:
            compared = {"passed": True, "variables": len(report.rows), "notes": list(report.notes)}
            facts["verification"] = {"reference": report.reference} | compared
        click.echo(json.dumps(facts | manifest, indent=1))
    else:
        shown = conversion.facts() | {"output": str(output)}
        if report:
            shown["verified"] = "\n".join(
                [f"{len(report.rows)} variables of the saved file equal the source's bit for bit", *report.notes]
            )
        click.echo(text_of(facts_table(shown | {"seconds": f"{seconds:.1f}"})))


@main.command("verify", short_help="Hold a model against a checkpoint, a graph or a hub module.")
@click.argument("model")
@click.argument("reference")
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=pathlib.Path),
    help="A photograph to compare outputs on; may be repeated. Without it, seeded noise.",
)
@click.option("--tolerance", type=float, help="Relative to an endpoint's largest value.  [1e-5, or 1e-12 in float64]")
@click.option("--float64", is_flag=True, help="Compute both sides in float64.")
@click.option(
    "--ema",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Which values of a checkpoint the weights must equal: either, the averaged ones, the plain ones.",
)
@click.option("--report", "report_file", type=click.Path(path_type=pathlib.Path), help="Write a page for a browser.")
@as_json
def verify_command(model, reference, images, tolerance, float64, ema, report_file, as_json):
    """Hold MODEL (.keras) against REFERENCE.

    \b
    a checkpoint, a manifest (.json)   weights, bit for bit
    a frozen graph (.pb)               outputs at every endpoint
    a TF-Hub module                    outputs in inference and in training mode
    a published model by its name      weights, against its checkpoint, which is fetched, and against the
                                       checksums in its hub module, where they are known

    MODEL may be a hub module and REFERENCE a checkpoint: does the module carry its averaged or its plain variables?
    """
    is_keras = pathlib.Path(model).suffix == ".keras"
    if not is_keras and (images or report_file):
        raise click.UsageError(f"--images and --report are for a .keras file, not for {model}.")
    with working("Loading TensorFlow and Keras") as say:
        from converters.manifest import open_keras_file

        say(f"Opening {model}")
        loaded = open_keras_file(model) if is_keras else model
        batch = None
        if images:
            from converters.images.photographs import load_images

            batch = load_images(images, loaded.input_shape[1] or 224)
    with download_bar(reference) as progress:
        fetched = source_of(reference, progress)
    with working(f"Comparing with {reference}") as say:
        report = converters.verify(
            loaded, reference, batch, tolerance, ema=ema, dtype="float64" if float64 else None, name=model
        )
        if report_file:
            from converters.reports.html import write_html_report
            from converters.reports.provenance import provenance_of

            say(f"Writing {report_file}")
            write_html_report(report, provenance_of(loaded, model, fetched), report_file)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.passed else 1)


for command in (export_command, fetch_command, info_command, predict_command, evaluate_command, embed_command):
    main.add_command(command)
