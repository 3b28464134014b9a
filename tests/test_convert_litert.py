"""LiteRT models as sources and as references: real files, and those that TensorFlow makes of slim's graph."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters import ConversionError
from converters.cli import main
from converters.litert import interpreter, network, reference
from converters.litert.schema import Model, Tensor
from converters.weights import assign, slim_variables
from mobilenets import SCOPES
from tests.in_this_process import running
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

pytest.importorskip("ai_edge_litert", reason="reading LiteRT models needs ai-edge-litert")

SHARED = pathlib.Path(__file__).parents[2] / "shared"
MATERIAL = SHARED / "material"
GRAYSCALE = MATERIAL / "mobilenet_v1_025_grayscale_vwwvehicle_float.tflite"
V1_8_BIT = MATERIAL / "mobilenet_v1_0_25_128_quant.tflite"
V2_8_BIT = MATERIAL / "mobilenet_v2_1_0_224_quant.tflite"
V3_8_BIT = MATERIAL / "mobilenet_v3_large_minimalistic_1_0_224_quant.tflite"
real = pytest.mark.skipif(not MATERIAL.is_dir(), reason="the real LiteRT models are not in the repository")
MULTIPLIERS = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "mobilenet_v3": 0.35, "inception_v2": 0.25}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="mobilenets")


def images(count, size, channels=3):
    return np.random.default_rng(3).uniform(size=(count, size, size, channels)).astype(np.float32)


def converted_by_tensorflow(path, family, calibration=None, **options):
    """A `.tflite` file of slim's graph with made-up variables, and the frozen graph that it was made of.

    With images in [0, 1] for its calibration, the file computes with 8-bit integers.
    """
    shapes = variable_shapes(family, MULTIPLIERS[family], num_classes=10, **options)
    variables = made_up_variables(shapes)
    graph = path.with_suffix(".pb")
    freeze(
        graph,
        family,
        variables,
        depth_multiplier=MULTIPLIERS[family],
        num_classes=10,
        image_size=64,
        batch=1,
        **options,
    )
    converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
        str(graph), ["input"], [f"{SCOPES[family]}/Predictions/Reshape_1"]
    )
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([2 * image[np.newaxis] - 1] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return graph


def interpreted(path, image):
    """The file's own answer, by the interpreter alone: class probabilities or scores of one image in [-1, 1]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = given["quantization"]
    if scale:
        image = np.clip(np.round(image / scale + zero), 0, 255)
    interpreter.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])[0]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mobilenet_v1", {}),
        ("mobilenet_v2", {}),
        ("mobilenet_v3", {"variant": "large"}),
        ("mobilenet_v3", {"variant": "small"}),
        ("mobilenet_v3", {"variant": "small_minimalistic"}),
        ("inception_v2", {}),
    ],
    ids=str,
)
def test_a_float_model_of_slims_graph(tmp_path, family, options):
    path = tmp_path / "model.tflite"
    graph = converted_by_tensorflow(path, family, **options)
    conversion = converters.conversion_of(path)
    assert conversion.source_format == "LiteRT model"
    assert any("folded" in note for note in conversion.notes)
    for original in (path, graph):  # slim's graph is the original
        report = converters.verify(conversion.model, original)
        assert report.passed, str(report)
    unfolded = converters.convert(graph)
    report = converters.verify(unfolded, path)
    assert report.passed, str(report)
    assert report.compared == len(mobilenets.endpoints(unfolded))


def test_a_wrong_weight_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(reference.subprocess, "run", running(interpreter.serve))
    path = tmp_path / "model.tflite"
    converted_by_tensorflow(path, "mobilenet_v1")
    model = converters.convert(path)
    kernel = model.get_layer("MobilenetV1__Conv2d_3_pointwise").kernel
    kernel.assign(np.array(kernel) * np.float32(1.001))
    report = converters.verify(model, path)
    assert not report.passed
    assert report.first_failure.name == "MobilenetV1/Conv2d_3_pointwise"


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mobilenet_v1", {}),
        ("mobilenet_v3", {"variant": "small"}),
        ("mobilenet_v3", {"variant": "small", "head": "feature_map"}),
        ("mobilenet_v3", {"minimalistic": True, "head": "feature_vector"}),
        ("inception_v2", {}),
    ],
    ids=str,
)
def test_a_model_that_keras_exports_is_known_by_its_sequence(tmp_path, family, options):
    """Its tensors have other names and its images are in [0, 1]."""
    built = mobilenets.CONSTRUCTORS[family](MULTIPLIERS[family], (64, 64, 3), num_classes=10, **options)
    assign(built, made_up_variables({name: array.shape for name, array in slim_variables(built).items()}))
    converters.export(built, tmp_path / "model.tflite", "litert")
    conversion = converters.conversion_of(tmp_path / "model.tflite")
    assert any("in [0, 1]; the model" in note for note in conversion.notes)
    report = converters.verify(conversion.model, tmp_path / "model.tflite")
    assert report.passed, str(report)
    np.testing.assert_allclose(conversion.model(images(2, 64)), built(images(2, 64)), rtol=1e-4, atol=1e-4)


def test_broken_files_get_one_sentence(tmp_path):
    path = tmp_path / "model.tflite"
    converted_by_tensorflow(path, "mobilenet_v1")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = bytearray(data)
    for index in rng.integers(8, 4096, 200):
        damaged[index] ^= 0xFF
    for content in (data[: len(data) // 2], b"\0" * 100, b"", bytes(damaged), data[:40]):
        (tmp_path / "broken.tflite").write_bytes(content)
        result = invoke("convert", tmp_path / "broken.tflite", "-o", tmp_path / "m.keras", "--no-verify")
        assert result.exit_code == 2, result.output
        assert result.output.startswith("Error: ") and "broken.tflite" in result.output
        assert "Traceback" not in result.output and not (tmp_path / "m.keras").exists()


@real
def test_the_real_grayscale_model_agrees_at_every_endpoint(tmp_path):
    result = invoke("convert", GRAYSCALE, "-o", tmp_path / "gray.keras", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["configuration"]["input_shape"] == [224, 224, 1]
    assert facts["verification"]["outputs"]["compared"] == 30
    model = converters.load_model(tmp_path / "gray.keras")
    image = images(1, 224, 1)[0]
    logits = np.array(model(image[np.newaxis]))[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(interpreted(GRAYSCALE, 2 * image - 1), expected, atol=1e-5)
    result = invoke("predict", tmp_path / "gray.keras", *sorted((SHARED / "images" / "labelled").glob("*bus*")))
    assert result.exit_code == 0, result.output


@pytest.mark.core
@real
@pytest.mark.parametrize(
    "path",
    [V1_8_BIT, V2_8_BIT, V3_8_BIT],
    ids=["v1", "v2", "v3"],
)
def test_a_real_8_bit_model_agrees(tmp_path, path):
    result = invoke("convert", path, "-o", tmp_path / "m.keras")
    assert result.exit_code == 0, result.output
    assert "8-bit integers" in result.output and "agreement, not parity" in result.stdout
    photographs = SHARED / "images" / "labelled"
    result = invoke("verify", tmp_path / "m.keras", path, "--images", photographs, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    logits = next(row for row in report["rows"] if row["name"].endswith("/Logits"))
    assert min(row["cosine"] for row in report["rows"]) > (0.96 if path == V3_8_BIT else 0.97)
    # The small network of width 0.25 is less sure of its classes.
    assert logits["top1_agreement"] >= (0.8 if path == V1_8_BIT else 0.9)
    model = converters.open_image_model(tmp_path / "m.keras")
    files = sorted(str(file) for file in photographs.iterdir() if "panda" in file.name or "school_bus" in file.name)
    found = [answer.guesses[0].index for answer in converters.predict(model, files, top=1)]
    assert found[0] == 389
    # The file of V1 0.25/128 itself calls the school bus a recreational vehicle.
    assert path == V1_8_BIT or found == [389, 780]


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2"])
def test_an_8_bit_model_of_slims_graph_agrees_and_a_wrong_one_does_not(tmp_path, family):
    path = tmp_path / "model.tflite"
    converted_by_tensorflow(path, family, calibration=images(16, 64))
    model = converters.convert(path)
    report = converters.verify(model, path, images(12, 64))
    assert report.passed and report.agreement, str(report)
    assert min(row.cosine for row in report.rows) > 0.99
    kernel = next(layer.kernel for layer in model.layers if layer.name.endswith(("Conv2d_5_pointwise", "_5__project")))
    kernel.assign(np.array(kernel)[..., ::-1])
    assert not converters.verify(model, path, images(12, 64)).passed


@real
def test_a_model_with_other_weights_does_not_agree(tmp_path):
    model = converters.convert(V1_8_BIT)
    kernel = model.get_layer("MobilenetV1__Conv2d_5_pointwise").kernel
    kernel.assign(np.array(kernel)[..., ::-1])
    report = converters.verify(model, V1_8_BIT)
    assert not report.passed and report.agreement


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("MobilenetEdgeTPU/Conv/weights", "MobilenetEdgeTPU"),
        ("aspp0/weights", "DeepLab"),
        ("BoxPredictor_0/BoxEncodingPredictor/weights", "a detector"),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, monkeypatch, name, what):
    tensor = Tensor(name, (1,), np.dtype(np.float32), None, np.zeros(0), np.zeros(0), 0)
    monkeypatch.setattr(network, "read_model", lambda path: Model((tensor,), (), (0,)))
    with pytest.raises(ConversionError, match=what):
        network.LiteRTNetwork(tmp_path / "model.tflite")


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "inception_v2"])
def test_a_grayscale_checkpoint(tmp_path, family):
    shapes = dict(variable_shapes(family, MULTIPLIERS[family], num_classes=10))
    first = next(
        name for name in shapes if name.split("/")[1] in ("Conv2d_0", "Conv", "Conv2d_1a_7x7") and "weights" in name
    )
    if family == "inception_v2":
        # The multiplier of the separable convolution stays, so its pointwise kernel has a third of the inputs.
        scope = first.rpartition("/")[0]
        depthwise = shapes[f"{scope}/depthwise_weights"]
        shapes[f"{scope}/depthwise_weights"] = (*depthwise[:2], 1, depthwise[3])
        shapes[f"{scope}/pointwise_weights"] = (1, 1, depthwise[3], shapes[f"{scope}/pointwise_weights"][3])
    else:
        shapes[first] = (3, 3, 1, shapes[first][3])
    checkpoints.save_checkpoint(made_up_variables(shapes), tmp_path / "gray.ckpt")
    model = converters.convert(tmp_path / "gray.ckpt", input_shape=(64, 64))
    assert model.input_shape == (None, 64, 64, 1)
    assert converters.verify(model, tmp_path / "gray.ckpt").passed
    assert model(images(1, 64, 1)).shape == (1, 10)
