"""The command ``mobilenets export``."""

import json
import pathlib

import click

import converters
from converters.commands.completion import paths
from converters.commands.console import Mismatch, as_json, echo, load_keras
from converters.commands.display import display_on_stderr
from converters.commands.images import check_image_size, image_size_option
from converters.commands.quiet import native_stderr_if_it_fails
from converters.exporting.table import FILES, check_packages
from converters.sources import check_there

_BY_SUFFIX = {files.suffixes[0]: name for name, files in FILES.items() if files.suffixes}


@click.command("export", short_help="Write a model for another runtime and compare it with Keras.")
@click.argument("model", shell_complete=paths)
@click.argument("path", required=False, type=click.Path(path_type=pathlib.Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=pathlib.Path), help="The file or folder to write.  [required]"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FILES)),
    help="The format; a folder may be one of several.  [by the suffix of OUTPUT]",
)
@click.option(
    "--quantize",
    type=click.Choice(["float16", "int8"]),
    help="LiteRT only: weights in float16, or all operations in int8, calibrated on the images.  [float32]",
)
@click.option(
    "--images",
    "--representative",
    "images",
    multiple=True,
    help="A photograph, a folder of them, or a glob in quotes, to compare on and to calibrate int8 with; may be "
    "repeated.  [seeded noise]",
)
@image_size_option
@click.option(
    "--input-type",
    type=click.Choice(["float32", "uint8"]),
    default="float32",
    show_default=True,
    help="int8 only: uint8 makes input and output integers, for Edge TPUs and microcontrollers.",
)
@click.option("--batch", type=click.IntRange(1), help="int8 only: the fixed number of images.  [any]")
@click.option(
    "--labels",
    help="litert only: a file with one label per line, or 'imagenet', to pack in the file as metadata.  [none]",
)
@click.option("--fused/--unfused", default=True, show_default=True, help="Fold batch norms, in the first four formats.")
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
@as_json
def export_command(
    model, path, output, format_name, quantize, images, image_size, input_type, batch, labels, fused, force, as_json
):
    """Write MODEL (.keras) to OUTPUT in another runtime's format, run it there and compare it with Keras.

    If a manifest is next to MODEL, MODEL is compared with it first.

    \b
    savedmodel          OUTPUT is a folder
    litert              OUTPUT ends in .tflite
    onnx                OUTPUT ends in .onnx; needs mobilenets[onnx]
    openvino            OUTPUT ends in .xml, and a .bin file is written next to it; needs mobilenets[openvino]
    keras-applications  OUTPUT ends in .h5: weights for keras.applications.MobileNet or MobileNetV2
    transformers        OUTPUT is a folder for from_pretrained (MobileNet V1, V2); needs mobilenets[transformers]
    hub                 OUTPUT is a folder: a TF-Hub module (TF2 SavedModel), to call and to train
    safetensors         OUTPUT ends in .safetensors: the variables by their slim names
    """
    check_image_size(image_size, images)
    path = _output(path, output)
    format_name = format_name or _format_of(path)
    check_there(model)
    check_packages(format_name)  # before TensorFlow is loaded
    if format_name in ("hub", "safetensors"):
        if quantize or images or labels or not fused or batch or input_type != "float32":
            raise click.UsageError(f"--format {format_name} takes no --quantize, --images, --labels or --unfused.")
        (export_module if format_name == "hub" else export_variables)(model, path, force, as_json)
        return
    with display_on_stderr() as display:
        load_keras(display)
        from converters.exporting.exports import check_path
        from converters.exporting.formats import find_format
        from converters.image_sizes import image_size_of
        from converters.images.image_paths import ImagePaths
        from converters.images.labels import labels_of
        from converters.images.photographs import load_images
        from converters.keras_file import load_checked_model

        check_path(path, find_format(format_name, quantize, input_type, batch), force)
        display.step(f"Opening {model}")
        loaded, info = load_checked_model(model)
        photographs = None
        if images:
            size = image_size_of(loaded, info, image_size, model)
            photographs = load_images(ImagePaths(images), size, loaded.input_shape[3])
        names = None
        if labels:
            names = labels_of(loaded.output_shape[-1], None if labels == "imagenet" else labels)
        display.step(f"Writing and running {path}")
        try:
            with native_stderr_if_it_fails():
                result = converters.export(
                    loaded,
                    path,
                    format_name,
                    fused=fused,
                    images=photographs,
                    quantization=quantize,
                    force=force,
                    input_type=input_type,
                    batch=batch,
                    labels=names,
                )
        except converters.ExportMismatch as error:
            raise Mismatch(str(error)) from error
    echo(json.dumps(result.facts(), indent=1) if as_json else str(result))


def _output(path: pathlib.Path | None, output: pathlib.Path | None) -> pathlib.Path:
    if path is not None and output is None:
        echo("Note: the output as an argument is the old form; -o OUTPUT is the same in every command.", err=True)
        return path
    if path is not None or output is None:
        raise click.UsageError("Name the file or folder to write once: -o OUTPUT.")
    return output


def _format_of(path: pathlib.Path) -> str:
    if path.suffix not in _BY_SUFFIX:
        raise click.UsageError(
            f"The suffix of {path} is not that of a format ({', '.join(_BY_SUFFIX)}); give "
            f"--format: {', '.join(FILES)}."
        )
    return _BY_SUFFIX[path.suffix]


def export_variables(model, path, force, as_json):
    """Writes the variables in safetensors and reads them again."""
    with display_on_stderr() as display:
        load_keras(display)
        from converters.exporting import variables
        from converters.keras_file import load_checked_model

        variables.check_variables_path(path, force)
        display.step(f"Opening {model}")
        loaded, _ = load_checked_model(model)
        display.step(f"Writing {path}")
        try:
            result = variables.export_variables(loaded, path, force)
        except converters.ExportMismatch as error:
            raise Mismatch(str(error)) from error
    echo(json.dumps(result.facts(), indent=1) if as_json else str(result))


def export_module(model, path, force, as_json):
    """Writes a TF-Hub module and compares it with the model, in inference and in training mode."""
    with display_on_stderr() as display:
        load_keras(display)
        from converters.hub.export import check_folder
        from converters.keras_file import load_checked_model
        from converters.parity.report_text import verdict

        check_folder(path, force)
        display.step(f"Opening {model}")
        loaded, _ = load_checked_model(model)
        display.step(f"Writing {path}")
        with native_stderr_if_it_fails():
            converters.export_hub(loaded, path, force)
            display.step(f"Comparing {path} with the model")
            report = converters.verify(loaded, path, name=model)
    echo(report.to_json() if as_json else verdict(report))
    if not report.passed:
        raise Mismatch(f"{path} was written, but its outputs differ from those of {model}.", printed=True)
