"""The command ``mobilenets verify``."""

import pathlib
import sys

import click
import lazy_loader

from converters.commands.console import as_json, working
from converters.commands.fetch import download_bar
from converters.fetching import source_of

converters = lazy_loader.load("converters")


@click.command("verify", short_help="Hold a model against a checkpoint, a graph or a hub module.")
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
