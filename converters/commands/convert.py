"""The command ``mobilenets convert``."""

import json
import pathlib
import shlex
import time

import click

import converters
from converters.commands.completion import model_names, paths_and_names
from converters.commands.console import (
    ImageSize,
    Mismatch,
    all_differences,
    allow_unpinned,
    as_json,
    cache_option,
    echo,
    echo_report,
    load_keras,
)
from converters.commands.display import display_on_stderr
from converters.manifest_file import check_model_path, manifest_path
from converters.sources import check_there, find_source


@click.command("convert", short_help="Convert a checkpoint, or a published model, to a Keras model.")
@click.argument("source", shell_complete=paths_and_names)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=pathlib.Path), help="The .keras file to write."
)
@click.option(
    "--name",
    shell_complete=model_names,
    help="The published model that SOURCE is; gives the image size, and is compared with SOURCE.  [by its name]",
)
@click.option(
    "--head",
    type=click.Choice(["classification", "feature_vector", "feature_map"]),
    help="What the model gives.  [classification if SOURCE has logits, otherwise feature_vector]",
)
@click.option(
    "--image-size",
    type=ImageSize(or_any=True),
    help="224, 192x160 (height x width) or any.  [that of SOURCE or of the published model, or 224]",
)
@click.option("--depth-multiplier", type=float, help="The multiplier that SOURCE must have.  [recognised]")
@click.option(
    "--num-classes", type=int, help="Make a new classification layer for this number of classes.  [that of SOURCE]"
)
@click.option("--classes", type=int, help='1000 leaves out class 0, "background", of ImageNet\'s 1001 classes.  [1001]')
@click.option(
    "--ema",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Use moving averages: if SOURCE has them for all variables; always, or fail; never.",
)
@click.option(
    "--scope",
    help="The scope of the network in SOURCE, if it has several: FeatureExtractor/MobilenetV2.  [the only one]",
)
@click.option("--strict", is_flag=True, help="Fail on NaN or infinity in a weight.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Load the saved file and compare it with SOURCE before OUTPUT gets its name: weights bit for bit, and outputs "
    "if SOURCE is or holds a graph that can be run.",
)
@click.option("--partial", is_flag=True, help="Accept a graph that has fewer than half of the model's endpoints.")
@allow_unpinned
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option("--verbose", is_flag=True, help="List all variables that do not fit or differ, not the first 20 only.")
@cache_option
@as_json
def convert_command(
    source,
    output,
    name,
    head,
    image_size,
    depth_multiplier,
    num_classes,
    classes,
    ema,
    scope,
    strict,
    verify,
    partial,
    allow_unpinned,
    force,
    verbose,
    as_json,
):
    """Convert SOURCE, a file of slim variables, to a Keras model and its manifest.

    SOURCE is a checkpoint (prefix, one of its files, its folder, a .tgz), a frozen graph (.pb), an .h5 or .safetensors
    file, a TF-Hub module (its folder, .tar.gz or handle), a folder of transformers, or the name of a published model,
    whose checkpoint is fetched. The saved model is compared with SOURCE: weights bit for bit; outputs at each endpoint,
    if SOURCE is or holds a graph or a module, or is a folder of transformers, which is installed; and for a published
    model the checksums in its hub module, if they are known. If a comparison fails, nothing is written and the exit
    status is 1.
    """
    start = time.monotonic()
    if classes not in (None, 1000, 1001):
        raise click.UsageError("--classes is 1000 or 1001; --num-classes makes a new layer for another number.")
    overrides = {"depth_multiplier": depth_multiplier, "num_classes": num_classes}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    check_model_path(output, force)
    with display_on_stderr() as display:
        display.step(f"Looking for {source}")
        origin = find_source(source, display.downloaded, allow_unpinned)
        if isinstance(origin.path, str | pathlib.Path):
            check_there(str(origin.path))  # before TensorFlow is loaded
        load_keras(display)
        display.step(f"Converting {origin.path}")
        input_shape = tuple(image_size) if image_size else None  # the source knows the channels
        with origin.unpacked():
            with all_differences(verbose):
                conversion = converters.conversion_of(
                    origin,
                    name=name,
                    head=head,
                    input_shape=input_shape,
                    ema=ema,
                    scope=scope,
                    strict=strict,
                    background=classes != 1000,
                    **overrides,
                )
            display.step(f"Writing {'and verifying ' * verify}{output}")
            try:
                manifest = converters.save_model(conversion, output, force, verify=verify, partial=partial)
            except converters.VerificationError as error:
                display.hide()
                if as_json:
                    echo(error.reports[-1].to_json())
                else:
                    echo_report(error.reports[-1], verbose)
                raise Mismatch(str(error), printed=True) from error
    for note in conversion.notes:
        echo(f"Note: {note}", err=True)
    facts = {"output": str(output), "seconds": round(time.monotonic() - start, 2)}
    echo(json.dumps(facts | manifest, indent=1) if as_json else _as_table(conversion, manifest, facts))


def _as_table(conversion, manifest, facts):
    from converters.text import facts_text

    compared = {part: "\n".join([entry["result"], *entry["notes"]]) for part, entry in manifest["verification"].items()}
    compared["manifest"] = str(manifest_path(facts["output"]))
    compared["next"] = _next_command(conversion, facts["output"])
    return facts_text(conversion.facts() | facts | compared)


def _next_command(conversion, output: str) -> str:
    """Returns what most people type next."""
    file = shlex.quote(output)
    if conversion.configuration["head"] == "classification":
        return f"mobilenets predict {file} photo.jpg"
    return f"mobilenets embed {file} photos -o features.npz"
