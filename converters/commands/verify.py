"""The command ``mobilenets verify``."""

import pathlib
import sys

import click

import converters
from converters.commands.completion import paths, paths_and_names
from converters.commands.console import as_json, cache_option, echo, echo_report, load_keras
from converters.commands.display import display_on_stderr
from converters.commands.images import check_image_size, image_size_option
from converters.sources import check_there, find_source


@click.command("verify", short_help="Compare a model with a checkpoint, a graph or a hub module.")
@click.argument("model", shell_complete=paths)
@click.argument("reference", shell_complete=paths_and_names)
@click.option(
    "--images",
    multiple=True,
    help="A photograph, a folder of them, or a glob in quotes, to compare outputs on; may be repeated.  [seeded noise]",
)
@image_size_option
@click.option(
    "--tolerance",
    type=float,
    help="The largest allowed distance from the exact model, relative to an endpoint's largest value.  [4 times the "
    "rounding of float32, at least 1e-5; 1e-12 in float64]",
)
@click.option("--float64", is_flag=True, help="Compute both sides in float64.")
@click.option(
    "--ema",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="The values of a checkpoint that the weights must equal: either, the averaged ones, or the plain ones.",
)
@click.option("--scope", help="The scope of the network in a checkpoint REFERENCE that has several.  [the only one]")
@click.option("--partial", is_flag=True, help="Accept a reference with fewer than half of the model's endpoints.")
@click.option("--verbose", "--all", "verbose", is_flag=True, help="Print all rows, not only those that matter most.")
@click.option(
    "--report",
    "-o",
    "--output",
    "report_file",
    type=click.Path(path_type=pathlib.Path),
    help="Write the report as a page for a browser (.html).  [no page]",
)
@cache_option
@as_json
def verify_command(
    model, reference, images, image_size, tolerance, float64, ema, scope, partial, verbose, report_file, as_json
):
    """Compare MODEL (.keras) with REFERENCE.

    \b
    a checkpoint, a manifest (.json)   weights, bit for bit, and the structure of the network
    a frozen graph (.pb)               outputs at every endpoint
    a TF-Hub module                    outputs in inference and in training mode
    a published model by its name      weights, with those of its checkpoint, which is downloaded, and with the
                                       checksums in its hub module, if they are known

    Outputs are compared with the exact model, the network in float64 (docs/parity.md). If MODEL is a hub module and
    REFERENCE a checkpoint, the report says whether the module holds its averaged or its plain variables.
    """
    if pathlib.Path(reference).suffix == ".keras" and pathlib.Path(model).suffix != ".keras":
        raise click.UsageError(f"MODEL comes first: mobilenets verify {reference} {model}")
    is_keras = pathlib.Path(model).suffix == ".keras"
    if not is_keras and (images or report_file):
        raise click.UsageError(f"--images and --report are for a .keras file, not for {model}.")
    check_image_size(image_size, images)
    check_there(model)
    check_there(reference)
    with display_on_stderr() as display:
        load_keras(display)
        display.step(f"Opening {model}")
        loaded, batch = _opened(model, images, image_size) if is_keras else (model, None)
        display.step(f"Looking for {reference}")
        source = find_source(reference, display.downloaded)
        display.step(f"Comparing with {reference}")
        report = converters.verify(
            loaded,
            source,
            batch,
            tolerance,
            ema=ema,
            scope=scope,
            dtype="float64" if float64 else None,
            partial=partial,
            name=model,
        )
        if report_file:
            from converters.reports.html import write_html_report
            from converters.reports.provenance import provenance_of

            display.step(f"Writing {report_file}")
            write_html_report(report, provenance_of(loaded, model, source.path), report_file)
    if as_json:
        echo(report.to_json())
    else:
        echo_report(report, verbose)
    sys.exit(0 if report.passed else 1)


def _opened(path: str, images: tuple[str, ...], image_size: tuple[int, int] | None):
    """Returns a model, and the photographs in the size that it takes."""
    from converters.image_sizes import image_size_of
    from converters.images.image_paths import ImagePaths
    from converters.images.photographs import load_images
    from converters.keras_file import open_keras_file
    from converters.manifest import published_in
    from converters.manifest_file import manifests_of

    model = open_keras_file(path)
    if not images:
        return model, None
    size = image_size_of(model, published_in(manifests_of(path)), image_size, path)
    return model, load_images(ImagePaths(images), size, model.input_shape[3])
