"""Models for other runtimes: written, run there and compared with Keras before they get their name."""

import contextlib
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.errors import ConversionError
from converters.exporting.formats import Format, find_format
from converters.exporting.litert_metadata import pack_labels, read_labels_of
from converters.exporting.result import Export
from converters.exporting.table import FILES
from converters.exporting.writing import in_batches, on_tensorflow, written_and_run
from converters.image_sizes import image_size_of
from converters.staging import check_output, staged
from converters.text import shape_text
from converters.versions import version_of
from mobilenets.nesting import is_nested

# Largest allowed difference of the outputs, relative to their largest absolute value. Measured on photographs: with
# made-up weights 1e-6 in float32, 6e-4 with float16 weights and 2e-2 in int8; with the published weights of MobileNet
# V1 0.25 at 128, whose batch norms scale channels very differently, 3e-6, 7e-3 and 0.12.
TOLERANCES = {None: 1e-4, "float16": 5e-2, "int8": 0.5}
SEED = 20180801


class ExportMismatch(ConversionError):
    """The exported model runs, but its outputs differ from those of the Keras model."""


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str,
    *,
    fused: bool = True,
    images: np.ndarray | None = None,
    quantization: str | None = None,
    force: bool = False,
    input_type: str = "float32",
    batch: int | None = None,
    labels: Sequence[str] | None = None,
) -> Export:
    """Writes a model in another runtime's format, runs it there, and compares its outputs with those in Keras.

    The exported model takes the same images as the model, any number at a time; those of "keras-applications" and
    "transformers" take [-1, 1].

    Args:
        model: A float32 model with one input and one output; "savedmodel" takes any dtype policy.
        path: "savedmodel": a folder; "litert": ``.tflite``; "onnx": ``.onnx``; "openvino": ``.xml``, with a ``.bin``
            file next to it; "keras-applications": ``.h5``, a file of weights; "transformers": a folder. It gets its
            name only after the comparison passes.
        format: One of these names.
        fused: Whether batch norms are folded first (`mobilenets.fuse`); not with "keras-applications" and
            "transformers".
        images: Float ``(count, height, width, 3)`` in [0, 1] to compare on, whatever range the model takes; by
            default seeded noise. "int8" requires them and calibrates its ranges on them: use a hundred or more
            photographs, prepared as for the model (`mobilenets.preprocess`).
        quantization: With "litert", "float16" (weights only) or "int8" (all operations; input and output stay float32,
            unless ``input_type`` is "uint8").
        force: Whether to replace an existing path; of folders, only one that this format writes.
        input_type: With "int8", "uint8" makes input and output integers, as Edge TPUs and microcontrollers need.
        batch: With "int8", the number of images that the file takes at once, of the size of ``images``; by default any.
        labels: With "litert", a label for each class, which is packed in the file as metadata.

    Returns:
        The path, the largest difference and other facts.

    Raises:
        ConversionError: The path exists or has the wrong suffix, a package is missing, the model or the images do not
            fit, or the export or its run fails.
        ExportMismatch: The outputs differ by more than the tolerance: 1e-4 of the largest absolute output, 5e-2 with
            float16, 0.5 with int8.
        ValueError: The format or the quantization is unknown.

    Example:
        >>> export = converters.export(converters.load_model("model.keras"), "model.tflite", "litert")
        >>> assert export.max_relative <= 1e-4
    """
    path = Path(path)
    target = find_format(format, quantization, input_type, batch)
    check_path(path, target, force)
    _check_model(model, format)
    if quantization == "int8" and images is None:
        raise ConversionError("int8 needs images to calibrate its ranges on; noise would give wrong ranges.")
    target.check(model)
    choices = {"format": format, "quantization": quantization, "input_type": input_type, "batch": batch}
    if labels is not None:
        _check_labels(model, format, labels)
    noise = images is None
    images = _model_input(model, images)
    theirs = 2 * images - 1 if target.symmetric and mobilenets.image_range(model) == (0, 1) else images
    source = mobilenets.fuse(model) if fused and target.fused else model
    check = functools.partial(check_path, path, target, force)
    with staged(path, check) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = _written_and_run(source, unfinished, target, choices, theirs)
        expected = in_batches(lambda batch: keras.ops.convert_to_numpy(model(batch, training=False)), images)
        if labels is not None:
            pack_labels(unfinished, labels, images.shape[3], mobilenets.image_range(model))
            again = target.load(unfinished)(theirs[:1])
            if read_labels_of(unfinished) != tuple(labels) or not np.array_equal(again, outputs[:1]):
                raise ExportMismatch(f"{path} was not written: with the labels it computes something else.")
        input_name, output_name = target.ends(unfinished) if target.ends else (None, None)
        result = Export(
            path=path,
            format=format,
            quantization=quantization,
            size=sum(file.stat().st_size for file in unfinished.parent.rglob("*") if file.is_file()),
            runtime=f"{target.runtime} {version_of(target.runtime)}",
            images=len(images),
            max_relative=_max_relative(outputs, expected),
            tolerance=TOLERANCES[quantization],
            top1_agreement=float((outputs.argmax(1) == expected.argmax(1)).mean()) if expected.ndim == 2 else None,
            noise=noise,
            input_type=input_type,
            input_shape=(batch, *(images.shape[1:] if batch else model.input_shape[1:])),
            input_range=mobilenets.image_range(model),
            input_name=input_name,
            output_name=output_name,
            output_shape=(batch, *model.output_shape[1:]),
            output=_meaning(model),
            labels=len(labels or ()),
        )
        # Not `max_relative > tolerance`: a NaN fails.
        if not result.max_relative <= result.tolerance:
            raise ExportMismatch(
                f"{path} was not written: {result.runtime} differs from the Keras model by {result.max_relative:.2g} "
                f"of the largest output; {result.tolerance:g} is allowed for {quantization or format}."
            )
    return result


def check_path(path: Path, target: Format, force: bool) -> None:
    """Checks that a path can be written and may be replaced, before any work is done."""
    if target.suffixes and path.suffix != target.suffixes[0]:
        raise ConversionError(f"The output {path} must end in {target.suffixes[0]}.")
    for file in [path.with_suffix(suffix) for suffix in target.suffixes] or [path]:
        check_output(file, force)
        if file.exists() and (file.is_dir() if target.suffixes else not (file / target.marker).is_file()):
            kind = "a file" if target.suffixes else f"a folder with {target.marker}"
            raise ConversionError(f"The output {file} exists and is not {kind}; it will not be replaced.")


def _check_model(model: keras.Model, format: str) -> None:
    inputs, outputs = (getattr(model, ends, None) or [] for ends in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"A model to export is a graph with one input and one output; {model.name} has {len(inputs)} and "
            f"{len(outputs)}."
        )
    dtypes = {layer.compute_dtype for layer in model.layers} | {inputs[0].dtype}
    if format != "savedmodel" and dtypes != {"float32"}:
        raise ConversionError(
            f"The format {format} takes a float32 model, and {model.name} computes in {', '.join(sorted(dtypes))}; "
            "convert its variables into a float32 model: keras.config.set_dtype_policy('float32'), then "
            "converters.convert({name: array.astype('float32') for name, array in "
            "converters.slim_variables(model).items()})."
        )


def _check_labels(model: keras.Model, format: str, labels: Sequence[str]) -> None:
    if format != "litert":
        raise ConversionError(f"Labels are packed in LiteRT files, not in {format}.")
    shape = model.output_shape
    if len(shape) != 2 or shape[1] != len(labels):
        raise ConversionError(f"There are {len(labels)} labels, and the output of {model.name} is {shape_text(shape)}.")
    if any("\n" in label or "\r" in label for label in labels):
        raise ConversionError("A label contains a line break; in the file each label is a line.")


def _meaning(model: keras.Model) -> str:
    """Returns what the output is, in a word or two."""
    if is_nested(model):
        with contextlib.suppress(ValueError):
            model = mobilenets.flat(model)
    last = model.outputs[0]
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", "")
    if len(last.shape) == 2 and "softmax" in (activation, type(model.layers[-1]).__name__.lower()):
        return "probabilities"
    with contextlib.suppress(ValueError):
        names = [name for name, tensor in mobilenets.endpoints(model).items() if tensor is last]
        if any(name.endswith("/Logits") for name in names):
            return "logits"
        if any(name.endswith("/global_pool") for name in names):
            return "features"
    return "a feature map" if len(last.shape) == 4 else "values"


def _model_input(model: keras.Model, images: np.ndarray | None) -> np.ndarray:
    """Returns the images (or noise) as the model takes them: in its range and type."""
    size = image_size_of(model)
    if images is None:
        images = np.random.default_rng(SEED).uniform(size=(3, *size, model.input_shape[3]))
    takes = model.input_shape[1:3]
    images = np.asarray(images)
    fits = images.ndim == 4 and len(images) > 0 and images.shape[3] == model.input_shape[3]
    if not (fits and all(length in (None, own) for length, own in zip(takes, images.shape[1:3], strict=True))):
        raise ConversionError(
            f"The images have the shape {images.shape}; expected (count, height, width, "
            f"{model.input_shape[3]}) with at least one image of "
            f"{shape_text(takes)} pixels."
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise ConversionError(f"The images are {images.dtype}; expected floats in [0, 1].")
    mobilenets.check_image_range(images)
    low, high = mobilenets.image_range(model)
    return (images * (high - low) + low).astype(model.inputs[0].dtype)


def _written_and_run(
    model: keras.Model, path: Path, target: Format, choices: Mapping, images: np.ndarray
) -> np.ndarray:
    if FILES[choices["format"]].by_tensorflow and keras.backend.backend() != "tensorflow":
        return on_tensorflow(model, path, choices, images)
    try:
        return written_and_run(model, path, target, images)
    except Exception as error:
        # Converters and runtimes raise errors of many types.
        raise ConversionError(
            f"The export of {model.name} to {choices['format']} failed: {checkpoints.reason(error)}"
        ) from error


def _max_relative(outputs: np.ndarray, expected: np.ndarray) -> float:
    if outputs.shape != expected.shape:
        return float("nan")
    difference, largest = np.abs(outputs - expected).max(), np.abs(expected).max()
    return float(difference / largest if largest else difference)
