"""Every format: written, run in its own runtime, and equal to the Keras model."""

import importlib.util

import keras
import numpy as np
import pytest

import converters
from converters.exporting.formats import FORMATS
from tests.networks import CONSTRUCTORS, dtype_policy, set_weights, slim_weights
from tests.oracle import made_up_images, made_up_variables

# OpenVINO is an optional extra; the other runtimes come with the tests.

OPENVINO = pytest.param(
    "openvino",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="the extra `openvino` is not installed"
    ),
)
NAMES = {"savedmodel": "model", "litert": "model.tflite", "onnx": "model.onnx", "openvino": "model.xml"}


def network(family: str, **choices) -> keras.Model:
    model = CONSTRUCTORS[family](0.25, **{"input_shape": (64, 64, 3), "num_classes": 11, **choices})
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    return model


def run_saved_model(path, images):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return loaded.signatures["serving_default"](tf.constant(images))["output_0"].numpy()


def run_litert(path, images):
    """One image at a time, by the plain calls."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    outputs = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    return np.stack(outputs)


def run_onnx(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_openvino(path, images):
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)[0]


RUNNERS = {"savedmodel": run_saved_model, "litert": run_litert, "onnx": run_onnx, "openvino": run_openvino}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_every_format_is_tested():
    others = {"keras-applications", "transformers"}  # test_export_keras_applications.py, test_export_transformers.py
    assert RUNNERS.keys() | others == FORMATS.keys()
    assert RUNNERS.keys() == NAMES.keys()


@pytest.mark.parametrize("format", ["savedmodel", "litert", "onnx", OPENVINO])
@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_the_exported_model_agrees_with_keras(family, format, tmp_path):
    model = network(family)
    path = tmp_path / NAMES[format]
    before = {name: array.copy() for name, array in converters.slim_variables(model).items()}
    result = converters.export(model, path, format)

    images = made_up_images(64, 64, batch=5, seed=1)
    expected = np.asarray(model(images))
    assert difference(RUNNERS[format](path, images), expected) <= 1e-5
    assert (result.format, result.quantization, result.path, result.images) == (format, None, path, 3)
    assert 0 < result.max_relative <= 1e-5 < result.tolerance
    assert result.top1_agreement == 1.0
    made = {entry.name for entry in tmp_path.iterdir()}
    assert made == ({"model.xml", "model.bin"} if format == "openvino" else {path.name})
    assert result.size == sum(entry.stat().st_size for entry in tmp_path.rglob("*") if not entry.is_dir())
    assert all(np.array_equal(array, before[name]) for name, array in converters.slim_variables(model).items())


@pytest.mark.parametrize("format", ["savedmodel", "litert", "onnx", OPENVINO])
@pytest.mark.parametrize(
    "choices",
    [{"head": "feature_vector"}, {"head": "feature_map", "output_stride": 8}, {"rescale_inputs": False}],
    ids=["feature_vector", "output_stride", "no_rescaling"],
)
def test_heads_strides_and_ranges(choices, format, tmp_path):
    model = network("mobilenet_v1", **choices)
    path = tmp_path / NAMES[format]
    result = converters.export(model, path, format)
    images = 2 * made_up_images(64, 64) - 1 if choices == {"rescale_inputs": False} else made_up_images(64, 64)
    assert difference(RUNNERS[format](path, images), np.asarray(model(images))) <= 1e-5
    assert (result.top1_agreement is None) == (choices.get("head") == "feature_map")


@pytest.mark.parametrize("format", ["savedmodel", "onnx", OPENVINO])
def test_images_of_any_size(format, tmp_path):
    model = network("mobilenet_v1", input_shape=(None, None, 3))
    path = tmp_path / NAMES[format]
    converters.export(model, path, format, images=made_up_images(64, 64))
    images = made_up_images(96, 49)
    assert difference(RUNNERS[format](path, images), np.asarray(model(images))) <= 1e-5


@pytest.mark.parametrize("fused", [True, False])
def test_unfused_on_request(fused, tmp_path):
    import onnx

    converters.export(network("mobilenet_v1"), tmp_path / "model.onnx", "onnx", fused=fused)
    names = {name for node in onnx.load(tmp_path / "model.onnx").graph.node for name in node.input}
    # The converter may fold batch norms itself, but it keeps the names of the weights' origin.
    assert any("BatchNorm" in name for name in names) != fused


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
def test_saved_models_keep_the_dtype_policy(policy, tmp_path):
    with dtype_policy(policy):
        model = network("mobilenet_v1")
    result = converters.export(model, tmp_path / "model", "savedmodel", fused=False)
    assert result.max_relative <= (1e-12 if policy == "float64" else 1e-2)
    with pytest.raises(converters.ConversionError, match=policy.removeprefix("mixed_")):
        converters.export(model, tmp_path / "model.tflite", "litert")


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v3"])
def test_quantized_litert(family, tmp_path):
    model = network(family)
    images = made_up_images(64, 64, batch=24, seed=2)
    results = {
        quantization: converters.export(
            model, tmp_path / f"{quantization}.tflite", "litert", quantization=quantization, images=images
        )
        for quantization in (None, "float16", "int8")
    }
    sizes = {key: result.size for key, result in results.items()}
    assert sizes["float16"] < 0.6 * sizes[None] and sizes["int8"] < 0.5 * sizes[None]
    assert results[None].max_relative < 1e-5 < results["float16"].max_relative < 5e-3
    assert results["float16"].max_relative < results["int8"].max_relative < 0.2
    assert all(result.images == 24 for result in results.values())

    others = made_up_images(64, 64, batch=8, seed=3)
    expected = np.asarray(model(others))
    for quantization, tolerance in (("float16", 5e-3), ("int8", 0.2)):
        path = tmp_path / f"{quantization}.tflite"
        assert difference(run_litert(path, others), expected) <= tolerance

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tmp_path / "int8.tflite"))
    interpreter.allocate_tensors()
    convolutions = [op for op in interpreter._get_ops_details() if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    dtypes = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert convolutions
    assert all(dtypes[op["inputs"][0]] == dtypes[op["inputs"][1]] == np.int8 for op in convolutions)


def test_other_float32_models(tmp_path):
    """A network with the user's own layers behind it, inside of another model."""
    inner = network("mobilenet_v2", head="feature_vector")
    images = keras.Input((64, 64, 3))
    model = keras.Model(images, keras.layers.Dense(4, activation="softmax")(inner(images)))
    converters.export(model, tmp_path / "model.tflite", "litert")
    batch = made_up_images(64, 64)
    assert difference(run_litert(tmp_path / "model.tflite", batch), np.asarray(model(batch))) <= 1e-5
