"""The formats of other runtimes: for each, how a model is written to it, and how the file is run again."""

import functools
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import keras
import numpy as np

from converters.errors import ConversionError
from converters.exporting import keras_applications, transformers_folder
from converters.exporting.table import FILES, check_packages

Function = Callable[[np.ndarray], np.ndarray]


class Format(NamedTuple):
    """A file format.

    Attributes:
        write: writes a model to a path; the images are for those that calibrate with them.
        load: makes a function from images to outputs of what was written, in the format's own runtime.
        runtime: the package that runs it.
        suffixes: of the files that it consists of, as in `FILES`.
        keras_version: first version of Keras with an exporter for it.
        marker: of a folder, the file in it by which an earlier export is recognised.
        fused: whether the model is fused first where the caller does not object.
        symmetric: whether what was written takes images in [-1, 1] whatever the model takes.
        at_once: whether the function of `load` takes all images in one call, because a call starts a process.
        check: refuses a model that the format cannot express, before any work.
        ends: reads the names of input and output from what was written; None if programs do not need them.
    """

    write: Callable[[keras.Model, Path, np.ndarray], None]
    load: Callable[[Path], Function]
    runtime: str
    suffixes: tuple[str, ...] = ()
    keras_version: tuple[int, int] = (3, 5)
    marker: str = "saved_model.pb"
    fused: bool = True
    symmetric: bool = False
    at_once: bool = False
    check: Callable[[keras.Model], object] = lambda model: None
    ends: Callable[[Path], tuple[str, str]] | None = None


def write_saved_model(model: keras.Model, path: Path, _images: np.ndarray | None = None) -> None:
    """Returns a TensorFlow SavedModel with the endpoint ``serve``."""
    model.export(str(path), format="tf_saved_model")


def load_saved_model(path: Path) -> Function:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def write_onnx(model: keras.Model, path: Path, images: np.ndarray) -> None:
    # Keras exports to ONNX only what was called before.
    model(images[:1])
    model.export(str(path), format="onnx")
    _name_onnx_ends(path)


def _name_onnx_ends(path: Path) -> None:
    """Names the output as in other formats, and the number of images; tf2onnx calls them Identity:0 and unk__275."""
    import onnx

    written = onnx.load(path)
    (output,) = written.graph.output
    old, output.name = output.name, "output_0"
    for node in written.graph.node:
        for names in (node.input, node.output):
            names[:] = [output.name if name == old else name for name in names]
    for end in (*written.graph.input, output):
        first = end.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_param = "batch"
    onnx.checker.check_model(written)
    onnx.save(written, path)


def load_onnx(path: Path) -> Function:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def onnx_ends(path: Path) -> tuple[str, str]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return graph.input[0].name, graph.output[0].name


def write_openvino(model: keras.Model, path: Path, _images: np.ndarray) -> None:
    model.export(str(path), format="openvino")


def load_openvino(path: Path) -> Function:
    import openvino

    # Left to itself, it computes in bfloat16 where the processor can, which is no test of the file.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[0]


def openvino_ends(path: Path) -> tuple[str, str]:
    import openvino

    model = openvino.Core().read_model(path)
    return model.input(0).get_any_name(), model.output(0).get_any_name()


def write_litert(model: keras.Model, path: Path, _images: np.ndarray) -> None:
    _convert_to_litert(model, path)


def write_litert_float16(model: keras.Model, path: Path, _images: np.ndarray) -> None:
    """Weights in float16, of half the size; runtimes on CPU compute in float32 nevertheless."""
    import tensorflow as tf

    _convert_to_litert(model, path, supported_types=[tf.float16])


def write_litert_int8(
    model: keras.Model, path: Path, images: np.ndarray, input_type: str = "float32", batch: int | None = None
) -> None:
    """All operations in int8, with ranges calibrated on the images; input and output too if the type is uint8."""
    import tensorflow as tf

    ends = tf.uint8 if input_type == "uint8" else tf.float32
    _convert_to_litert(model, path, images, batch, ends, supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8])


def _convert_to_litert(model, path, calibration=None, batch=None, ends=None, **target) -> None:
    """By way of a SavedModel, as Keras's own exporter does it; that one came with Keras 3.13 only."""
    import tensorflow as tf

    with TemporaryDirectory() as folder:
        if batch is None:
            write_saved_model(model, Path(folder))
        else:
            # Compilers for accelerators need every size.
            fixed = keras.InputSpec(shape=(batch, *calibration.shape[1:]), dtype="float32")
            model.export(folder, format="tf_saved_model", input_signature=[fixed])
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if target:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        for name, value in target.items():
            setattr(converter.target_spec, name, value)
        if calibration is not None:
            converter.representative_dataset = lambda: (
                [np.repeat(image[None], batch or 1, 0)] for image in calibration
            )
        if ends is not None:
            converter.inference_input_type = converter.inference_output_type = ends
        path.write_bytes(converter.convert())


def litert_ends(path: Path) -> tuple[str, str]:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    return next(iter(run.get_input_details())), next(iter(run.get_output_details()))


def load_litert(path: Path) -> Function:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    run = interpreter.get_signature_runner()
    ((name, source),) = run.get_input_details().items()
    (result,) = run.get_output_details().values()
    (batch, *_) = interpreter.get_input_details()[0]["shape_signature"]

    def function(images: np.ndarray) -> np.ndarray:
        if batch == -1 or len(images) == batch:
            (output,) = run(**{name: _quantized(images, source)}).values()
            return _dequantized(output, result)
        # The last images are repeated to fill a batch.
        parts = [images[start : start + batch] for start in range(0, len(images), batch)]
        filled = (np.concatenate([part, *[part[-1:]] * (batch - len(part))]) for part in parts)
        return np.concatenate([function(part) for part in filled])[: len(images)]

    return function


def _quantized(images: np.ndarray, details: dict) -> np.ndarray:
    if details["dtype"] == np.float32:
        return images
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(images / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _dequantized(output: np.ndarray, details: dict) -> np.ndarray:
    if details["dtype"] == np.float32:
        return output
    scale, zero = details["quantization"]
    return ((output.astype(np.float32) - zero) * scale).astype(np.float32)


LITERT = Format(write_litert, load_litert, "ai-edge-litert", FILES["litert"].suffixes, ends=litert_ends)

FORMATS = {
    "savedmodel": Format(write_saved_model, load_saved_model, "tensorflow"),
    "litert": LITERT,
    "onnx": Format(write_onnx, load_onnx, "onnxruntime", FILES["onnx"].suffixes, (3, 8), ends=onnx_ends),
    "openvino": Format(
        write_openvino, load_openvino, "openvino", FILES["openvino"].suffixes, (3, 11), ends=openvino_ends
    ),
    "keras-applications": Format(
        keras_applications.write_weights,
        keras_applications.load_weights,
        "keras",
        FILES["keras-applications"].suffixes,
        fused=False,
        symmetric=True,
        check=keras_applications.check,
    ),
    "transformers": Format(
        transformers_folder.write_folder,
        transformers_folder.load_folder,
        "transformers",
        marker="config.json",
        fused=False,
        symmetric=True,
        at_once=True,
        check=transformers_folder.check,
    ),
}

QUANTIZATIONS = {
    "float16": LITERT._replace(write=write_litert_float16),
    "int8": LITERT._replace(write=write_litert_int8),
}
"""Those of ``litert``."""


def find_format(name: str, quantization: str | None, input_type: str = "float32", batch: int | None = None) -> Format:
    """Returns the format's row, once all that it needs is there.

    Raises:
        ValueError: no such format or quantization, or the two do not go together.
        ConversionError: a package that it needs is not installed, or Keras is too old.
    """
    if name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {name!r}.")
    if quantization not in (None, *QUANTIZATIONS):
        raise ValueError(f"quantization must be None or one of {', '.join(QUANTIZATIONS)}, not {quantization!r}.")
    if quantization and name != "litert":
        raise ValueError(f"Only litert can be quantized, not {name}.")
    if input_type not in ("float32", "uint8"):
        raise ValueError(f"input_type must be float32 or uint8, not {input_type!r}.")
    if (input_type != "float32" or batch is not None) and quantization != "int8":
        raise ValueError("Only int8 has an input type of uint8 and a fixed batch.")
    row = QUANTIZATIONS[quantization] if quantization else FORMATS[name]
    if quantization == "int8":
        row = row._replace(write=functools.partial(write_litert_int8, input_type=input_type, batch=batch))
    check_packages(name)
    if tuple(map(int, keras.__version__.split(".")[:2])) < row.keras_version:
        needed = ".".join(map(str, row.keras_version))
        raise ConversionError(f"The format {name} needs Keras {needed} or later; this is {keras.__version__}.")
    return row
