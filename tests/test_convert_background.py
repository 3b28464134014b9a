"""Models of 1000 classes: the published ones without class 0, "background"."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
from converters.background import aligned_output
from converters.cli import main
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

V1 = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
LOGITS = "MobilenetV1/Logits/Conv2d_1c_1x1"
IMAGES = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def both():
    """The same variables as a model of 1001 and of 1000 classes."""
    with pytest.warns(converters.ConversionWarning, match='Class 0, "background", was left out'):
        small = converters.convert(V1, input_shape=(32, 32, 3), background=False)
    return converters.convert(V1, input_shape=(32, 32, 3)), small


def test_kernel_and_biases_lose_class_0(both):
    found = converters.slim_variables(both[1])
    assert both[1].output_shape == (None, 1000)
    for name, array in V1.items():
        assert (found[name] == (array[..., 1:] if name.startswith(LOGITS) else array)).all()


def test_the_softmax_is_over_the_rest(both):
    large, small = (np.asarray(model(IMAGES), np.float64) for model in both)
    np.testing.assert_allclose(small, large[:, 1:], rtol=1e-5, atol=1e-5)
    p, q = (np.asarray(keras.ops.softmax(logits)) for logits in (large, small))
    np.testing.assert_allclose(q, p[:, 1:] / (1 - p[:, :1]), rtol=1e-4)
    np.testing.assert_allclose(aligned_output("x/Predictions", p, q.shape), q, rtol=1e-4)


@pytest.mark.parametrize("family", ["mobilenet_v2", "inception_v2"])
def test_other_families(family):
    variables = made_up_variables(variable_shapes(family, 0.35))
    model = converters.conversion_of(variables, input_shape=(64, 64, 3), background=False).model
    assert model.output_shape == (None, 1000)
    found = converters.slim_variables(model)
    assert all(
        (found[name] == (array[..., 1:] if "/Logits/" in name else array)).all() for name, array in variables.items()
    )


def test_a_source_of_1000_classes_stays_as_it_is():
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25, num_classes=1000))
    conversion = converters.conversion_of(variables, input_shape=(32, 32, 3), background=False)
    assert (converters.slim_variables(conversion.model)[f"{LOGITS}/biases"] == variables[f"{LOGITS}/biases"]).all()
    assert not any("background" in note for note in conversion.notes)


@pytest.mark.parametrize(
    ("classes", "choices", "sentence"),
    [
        (5, {}, "has 5 classes"),
        (None, {}, "has no classification layer"),
        (1001, {"num_classes": 7}, "excludes num_classes"),
        (1001, {"head": "feature_vector"}, "excludes num_classes and other heads"),
    ],
)
def test_where_it_makes_no_sense(classes, choices, sentence):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25, num_classes=classes))
    with pytest.raises(converters.ConversionError, match=sentence):
        converters.convert(variables, background=False, **choices)


def test_another_number_of_classes(tmp_path):
    result = invoke("convert", "net.ckpt", "-o", tmp_path / "model.keras", "--classes", 5)
    assert result.exit_code == 2 and "--num-classes" in result.stderr


def test_the_command_with_a_checkpoint(tmp_path):
    checkpoints.save_checkpoint(V1, tmp_path / "net.ckpt")
    output = tmp_path / "model.keras"
    arguments = ["convert", tmp_path / "net.ckpt", "-o", output, "--image-size", "32"]
    result = invoke(*arguments, "--classes", 1000, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["configuration"]["num_classes"] == 1000 and any("background" in note for note in facts["notes"])
    assert facts["verification"]["weights"]["compared"] == len(V1)
    assert facts["variables"][f"{LOGITS}/biases"]["shape"] == [1000]
    assert converters.load_model(output).output_shape == (None, 1000)
    report = converters.verify(output, tmp_path / "net.ckpt")
    assert report.passed and any("background" in note for note in report.notes)
    damaged = V1 | {f"{LOGITS}/biases": V1[f"{LOGITS}/biases"] + np.float32(1)}
    assert not converters.verify(output, damaged).passed
    background = V1[f"{LOGITS}/biases"].copy()
    background[0] += 1
    assert converters.verify(output, V1 | {f"{LOGITS}/biases": background}).passed


def test_a_new_layer_of_1000_classes_is_not_the_published_one(tmp_path):
    checkpoints.save_checkpoint(V1, tmp_path / "net.ckpt")
    result = invoke("convert", tmp_path / "net.ckpt", "-o", tmp_path / "model.keras", "--num-classes", 1000)
    assert result.exit_code == 0 and "The classification layer is new" in result.output
    assert not converters.verify(tmp_path / "model.keras", tmp_path / "net.ckpt").passed


def test_the_outputs_of_a_frozen_graph(tmp_path):
    freeze(tmp_path / "net.pb", "mobilenet_v1", V1, depth_multiplier=0.25, image_size=32)
    result = invoke("convert", tmp_path / "net.pb", "-o", tmp_path / "model.keras", "--classes", 1000, "--json")
    assert result.exit_code == 0, result.output
    report = converters.verify(tmp_path / "model.keras", tmp_path / "net.pb")
    names = {row.name for row in report.rows}
    assert report.passed and {"MobilenetV1/Logits", "MobilenetV1/Predictions", "default"} & names


def test_the_panda_with_its_label(shared, tmp_path):
    """From real weights, without a download: the label and the published graph."""
    source = shared / "real" / "mobilenet_v1_0.25_128"
    for classes, index in ((1001, 389), (1000, 388)):
        output = tmp_path / f"{classes}.keras"
        result = invoke("convert", source / "frozen_graph.pb", "-o", output, "--classes", classes)
        assert result.exit_code == 0, result.output
        result = invoke("predict", output, shared / "images" / "panda.jpg", "--top", 1, "--json")
        ((guess,),) = [facts["predictions"] for facts in json.loads(result.stdout)]
        assert (guess["class"], guess["label"]) == (index, "giant panda")
        (tmp_path / "n02510455").mkdir(exist_ok=True)
        (tmp_path / "n02510455" / "panda.jpg").write_bytes((shared / "images" / "panda.jpg").read_bytes())
        result = invoke("evaluate", output, tmp_path, "--json", "--journal", tmp_path / "journal.json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["top1"]["right"] == 1
