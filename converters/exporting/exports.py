"""Models for other runtimes: written, run there, and compared with Keras before they count as done."""

import contextlib
import dataclasses
import importlib
import io
import os
import warnings
from pathlib import Path

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.errors import ConversionError
from converters.exporting.formats import Format, find_format
from converters.images.sizes import image_size_of
from converters.parity.outputs import takes_unit_range
from converters.staging import check_output, staged
from converters.text import shape_text

# Largest difference of the outputs, relative to their largest absolute value. Measured on photographs: with made-up
# weights 1e-6 in float32, 6e-4 with float16 weights and 2e-2 in int8; with the published ones of MobileNet V1 0.25 at
# 128, whose batch norms scale channels very differently, 3e-6, 7e-3 and 0.12.
TOLERANCES = {None: 1e-4, "float16": 5e-2, "int8": 0.5}
SEED = 20180801
BATCH = 32


class ExportMismatch(ConversionError):
    """What was exported runs, and computes something else than the model."""


@dataclasses.dataclass(frozen=True)
class Export:
    """A file (or folder) for another runtime, and how far it is from the Keras model.

    Attributes:
        path: what was written.
        format: "savedmodel", "litert", "onnx" or "openvino".
        quantization: None, "float16" or "int8".
        size: bytes of all its files.
        runtime: name and version of what it was run with.
        images: how many it was compared on.
        max_relative: largest absolute difference of the outputs, over the largest absolute value of the Keras model's.
        tolerance: what ``max_relative`` had to stay within.
        top1_agreement: share of images whose largest output is the same; None for feature maps.
    """

    path: Path
    format: str
    quantization: str | None
    size: int
    runtime: str
    images: int
    max_relative: float
    tolerance: float
    top1_agreement: float | None

    def facts(self) -> dict:
        """Its attributes, ready for JSON."""
        return dataclasses.asdict(self) | {"path": str(self.path)}

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        agreement = f"; the same class is first on {self.top1_agreement:.0%}" if self.top1_agreement is not None else ""
        return (
            f"{self.path} ({self.size / 1e6:.1f} MB) was run with {self.runtime} and compared with Keras on {images}: "
            f"the largest difference is {self.max_relative:.2g} of the largest output ({self.tolerance:g} is allowed)"
            f"{agreement}."
        )


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str,
    *,
    fused: bool = True,
    images: np.ndarray | None = None,
    quantization: str | None = None,
    force: bool = False,
) -> Export:
    """Writes a model in another runtime's format, and holds what that runtime computes against the Keras model.

    What is written takes the images that the model takes, any number at a time.

    Args:
        model: a float32 model with one input and one output; "savedmodel" takes any dtype policy.
        path: "savedmodel": a folder; "litert": ``.tflite``; "onnx": ``.onnx``; "openvino": ``.xml``, and ``.bin``
            beside it. It appears only after it was run and found equal.
        format: one of these four names.
        fused: whether batch norms are folded first (`mobilenets.fuse`).
        images: float ``(count, height, width, 3)`` in [0, 1] to compare on, also for a model that takes [-1, 1]; by
            default seeded noise. With "int8" they are needed, and its ranges are calibrated on them: a hundred or more
            photographs, prepared as for the model (`mobilenets.preprocess`).
        quantization: with "litert", "float16" (weights only) or "int8" (all operations; input and output stay float32).
        force: whether something that exists is replaced; of folders, only a SavedModel.

    Returns:
        What was written, with the largest difference found.

    Raises:
        ConversionError: the path exists or ends wrongly, a package is missing, the model or the images do not fit, the
            export or its run fails.
        ExportMismatch: the outputs differ by more than the tolerance: 1e-4 of the largest absolute output, 5e-2 with
            float16, 0.5 with int8.
        ValueError: unknown format or quantization.
    """
    path = Path(path)
    target = find_format(format, quantization)
    check_path(path, target, force)
    _check_model(model, format)
    if quantization == "int8" and images is None:
        raise ConversionError("int8 needs images that its ranges are calibrated on; noise would give wrong ones.")
    images = _model_input(model, images)
    source = mobilenets.fuse(model) if fused else model
    with staged(path) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _written_and_run(source, unfinished, target, format, images)
        expected = _in_batches(lambda batch: keras.ops.convert_to_numpy(model(batch, training=False)), images)
        result = Export(
            path=path,
            format=format,
            quantization=quantization,
            size=sum(file.stat().st_size for file in unfinished.parent.rglob("*") if file.is_file()),
            runtime=f"{target.runtime} {importlib.import_module(target.runtime).__version__.split('-')[0]}",
            images=len(images),
            max_relative=_max_relative(found, expected),
            tolerance=TOLERANCES[quantization],
            top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()) if expected.ndim == 2 else None,
        )
        # Not `max_relative > tolerance`: a NaN fails.
        if not result.max_relative <= result.tolerance:
            raise ExportMismatch(
                f"{path} was not written: {result.runtime} differs from the Keras model by {result.max_relative:.2g} "
                f"of the largest output, and {result.tolerance:g} is the most that {quantization or format} may."
            )
    return result


def check_path(path: Path, target: Format, force: bool) -> None:
    """Refuses a path that cannot be or must not be written, before any work is done."""
    if target.suffixes and path.suffix != target.suffixes[0]:
        raise ConversionError(f"The output {path} must end in {target.suffixes[0]}.")
    for file in [path.with_suffix(suffix) for suffix in target.suffixes] or [path]:
        check_output(file, force)
        if file.exists() and (file.is_dir() if target.suffixes else not (file / "saved_model.pb").is_file()):
            kind = "file" if target.suffixes else "SavedModel"
            raise ConversionError(f"The output {file} exists and is no {kind}; it will not be replaced.")


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
            "convert or load its weights into a float32 model."
        )


def _model_input(model: keras.Model, images: np.ndarray | None) -> np.ndarray:
    """The images (or noise) as the model takes them: in its range and type."""
    size = image_size_of(model)
    if images is None:
        images = np.random.default_rng(SEED).uniform(size=(3, *size, 3))
    takes = model.input_shape[1:3]
    images = np.asarray(images)
    fits = images.ndim == 4 and len(images) > 0 and images.shape[3] == 3
    if not (fits and all(length in (None, found) for length, found in zip(takes, images.shape[1:3], strict=True))):
        raise ConversionError(
            f"The images have the shape {images.shape}; expected (count, height, width, 3) with at least one image of "
            f"{shape_text(takes)} pixels."
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise ConversionError(f"The images are {images.dtype}; expected floats in [0, 1].")
    return (images if takes_unit_range(model) else 2 * images - 1).astype(model.inputs[0].dtype)


def _written_and_run(model: keras.Model, path: Path, target: Format, format: str, images: np.ndarray) -> np.ndarray:
    try:
        # Keras's exporters tell on standard output what they wrote.
        with contextlib.redirect_stdout(io.StringIO()):
            target.write(model, path, images)
        return _in_batches(target.load(path), images)
    except Exception as error:
        # Converters and runtimes raise errors of many types.
        raise ConversionError(f"The export of {model.name} to {format} failed: {checkpoints.reason(error)}") from error


def _in_batches(function, images: np.ndarray) -> np.ndarray:
    """The outputs for all images: for the first alone, then for many at a time, so that both are known to work."""
    starts = [0, *range(1, len(images), BATCH)]
    ends = [*starts[1:], len(images)]
    return np.concatenate([function(images[start:end]) for start, end in zip(starts, ends, strict=True)])


def _max_relative(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("nan")
    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
    return float(difference / largest if largest else difference)
