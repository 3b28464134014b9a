"""The command ``mobilenets export``."""

import json
import pathlib

import click

from converters.commands.console import Mismatch, as_json, working
from converters.commands.quiet import without_chatter

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


@click.command("export", short_help="Write a model for another runtime, and compare.")
@click.argument("model")
@click.argument("path", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--format", "format_name", required=True, type=click.Choice(["savedmodel", "litert", "onnx", "openvino", "hub"])
)
@click.option(
    "--quantize",
    type=click.Choice(["float16", "int8"]),
    help="LiteRT only: weights in float16, or all operations in int8, calibrated on the images.",
)
@click.option(
    "--images",
    "--representative",
    "images",
    multiple=True,
    type=click.Path(exists=True, path_type=pathlib.Path),
    help="A photograph, or a folder of them, to compare on and to calibrate int8 with; may be repeated. "
    "Without it, seeded noise.",
)
@click.option("--fused/--unfused", default=True, show_default=True, help="Fold batch norms (not for hub).")
@click.option("--force", is_flag=True, help="Replace PATH if it exists.")
@as_json
def export_command(model, path, format_name, quantize, images, fused, force, as_json):
    """Write MODEL (.keras) to PATH in another runtime's format, run it there and compare it with Keras.

    \b
    savedmodel  PATH is a folder
    litert      PATH ends in .tflite
    onnx        PATH ends in .onnx; needs mobilenets[onnx]
    openvino    PATH ends in .xml, and a .bin file is written beside it; needs mobilenets[openvino]
    hub         PATH is a folder: a TF-Hub module (TF2 SavedModel), to call and to train
    """
    if format_name == "hub":
        if quantize or images or not fused:
            raise click.UsageError("--format hub takes neither --quantize nor --images, and no --unfused.")
        export_module(model, path, force, as_json)
        return
    with working("Loading TensorFlow and Keras") as say:
        from converters.exporting.exports import ExportMismatch, check_path, export
        from converters.exporting.formats import find_format
        from converters.images.photographs import load_images
        from converters.keras_file import open_keras_file

        check_path(path, find_format(format_name, quantize), force)
        say(f"Opening {model}")
        loaded = open_keras_file(model)
        batch = load_images(image_files(images), loaded.input_shape[1] or 224) if images else None
        say(f"Writing and running {path}")
        try:
            with without_chatter():
                result = export(
                    loaded, path, format_name, fused=fused, images=batch, quantization=quantize, force=force
                )
        except ExportMismatch as error:
            raise Mismatch(str(error)) from error
    click.echo(json.dumps(result.facts(), indent=1) if as_json else str(result))


def export_module(model, path, force, as_json):
    """Writes a TF-Hub module and compares it with the model, in inference and in training mode."""
    with working("Loading TensorFlow and Keras") as say:
        import converters
        from converters.hub.export import check_folder
        from converters.keras_file import open_keras_file
        from converters.parity.report_text import verdict

        check_folder(path, force)
        say(f"Opening {model}")
        loaded = open_keras_file(model)
        say(f"Writing {path}")
        with without_chatter():
            converters.export_hub(loaded, path, force)
            say(f"Comparing {path} with the model")
            report = converters.verify(loaded, path, name=model)
    click.echo(report.to_json() if as_json else verdict(report))
    if not report.passed:
        raise Mismatch(f"{path} was written, but computes something else than {model}.")


def image_files(paths: tuple[pathlib.Path, ...]) -> list[pathlib.Path]:
    """The files, and those of every folder whose names end as an image's do, sorted by name.

    Raises:
        ValueError: a folder holds no image.
    """
    files = []
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise ValueError(f"The folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
        files += found
    return files
