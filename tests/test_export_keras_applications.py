"""Weights for keras.applications: loaded there as its users load them, with equal outputs."""

import csv
import json

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters.cli import main
from converters.exporting.keras_applications import LEAVES, slim_scope
from converters.parity.fingerprints import published_fingerprints
from tests.networks import CONSTRUCTORS, set_weights, slim_weights
from tests.oracle import made_up_images, made_up_variables

THEIRS = {"mobilenet_v1": keras.applications.MobileNet, "mobilenet_v2": keras.applications.MobileNetV2}


def network(family: str, multiplier: float = 0.5, **choices) -> keras.Model:
    model = CONSTRUCTORS[family](multiplier, **{"input_shape": (64, 64, 3), "num_classes": 11, **choices})
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    return model


def assert_equal_outputs(ours, theirs, height=64, width=64):
    images = made_up_images(height, width)
    expected = np.asarray(ours(images))
    found = np.asarray(theirs(2 * images - 1))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("family", "multiplier", "classes"), [("mobilenet_v1", 0.25, 1001), ("mobilenet_v2", 0.35, 5)])
def test_classifiers(family, multiplier, classes, tmp_path):
    model = network(family, multiplier, num_classes=classes)
    path = tmp_path / "model.h5"
    result = converters.export(model, path, "keras-applications")
    assert result.max_relative <= 1e-5 and result.runtime == f"keras {keras.__version__}"
    theirs = THEIRS[family](
        weights=str(path), alpha=multiplier, classes=classes, input_shape=(64, 64, 3), classifier_activation=None
    )
    assert_equal_outputs(model, theirs)
    softmax = THEIRS[family](weights=str(path), alpha=multiplier, classes=classes, input_shape=(64, 64, 3))
    assert np.asarray(softmax(made_up_images(64, 64))).sum() == pytest.approx(len(made_up_images(64, 64)), rel=1e-4)


@pytest.mark.parametrize("family", THEIRS)
@pytest.mark.parametrize(("head", "pooling"), [("feature_vector", "avg"), ("feature_map", None)])
def test_heads_without_logits(family, head, pooling, tmp_path):
    model = network(family, head=head, rescale_inputs=False)
    path = tmp_path / "model.h5"
    converters.export(model, path, "keras-applications")
    theirs = THEIRS[family](weights=str(path), alpha=0.5, include_top=False, pooling=pooling, input_shape=(64, 64, 3))
    images = made_up_images(64, 64)
    np.testing.assert_allclose(np.asarray(theirs(images)), np.asarray(model(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multiplier", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_every_published_multiplier_of_v2_and_1000_classes(multiplier, tmp_path):
    model = network("mobilenet_v2", multiplier, num_classes=1000, input_shape=(96, 65, 3))
    converters.export(model, tmp_path / "model.h5", "keras-applications")
    theirs = keras.applications.MobileNetV2(
        weights=str(tmp_path / "model.h5"), alpha=multiplier, input_shape=(96, 65, 3), classifier_activation=None
    )
    assert_equal_outputs(model, theirs, 96, 65)


@pytest.mark.parametrize(("variant", "head"), [("small", "classification"), ("large", "feature_map")])
def test_minimalistic_mobilenet_v3(variant, head, tmp_path):
    choices = {"variant": variant, "minimalistic": True, "head": head}
    model = network("mobilenet_v3", 0.75, **choices)
    converters.export(model, tmp_path / "model.h5", "keras-applications")
    constructor = {"small": keras.applications.MobileNetV3Small, "large": keras.applications.MobileNetV3Large}[variant]
    theirs = constructor(
        weights=str(tmp_path / "model.h5"),
        alpha=0.75,
        minimalistic=True,
        include_top=head == "classification",
        classes=11,
        input_shape=(64, 64, 3),
        classifier_activation=None,
        include_preprocessing=False,
    )
    assert_equal_outputs(model, theirs)


def test_the_gates_of_mobilenet_v3_are_others(tmp_path):
    with pytest.raises(converters.ConversionError, match=r"gates of MobileNet V3 by 1/6.*0\.16667: .*2\.0e-5"):
        converters.export(network("mobilenet_v3", 0.35, variant="small"), tmp_path / "m.h5", "keras-applications")
    headless = network("mobilenet_v3", 0.35, variant="small", minimalistic=True, head="feature_vector")
    with pytest.raises(converters.ConversionError, match="no Conv_2"):
        converters.export(headless, tmp_path / "m.h5", "keras-applications")
    assert not (tmp_path / "m.h5").exists()


def test_the_file_says_how_it_is_loaded(tmp_path):
    converters.export(network("mobilenet_v1", 0.25), tmp_path / "model.h5", "keras-applications")
    with h5py.File(tmp_path / "model.h5") as file:
        call = json.loads(file.attrs["keras_applications"])
    assert call == {
        "constructor": "MobileNet",
        "alpha": 0.25,
        "input_shape": [64, 64, 3],
        "include_top": True,
        "pooling": None,
        "classes": 11,
        "classifier_activation": None,
    }


REFUSED = [
    ("inception_v2", 0.5, {}, "keras.applications has no inception_v2"),
    ("mobilenet_v1", 0.1, {}, r"other widths with alpha=0\.1: its layer conv1 has a kernel of shape \(3, 3, 3, 3\)"),
    ("mobilenet_v2", 0.28, {}, r"other widths with alpha=0\.28: its layer block_3_project"),
    ("mobilenet_v2", 0.5, {"scale_last_layer": True}, "other widths with alpha=0.5: its layer Conv_1"),
    ("mobilenet_v1", 0.25, {"input_shape": (64, 80, 3)}, "images of 64x80 pixels.* multiples of 32"),
    ("mobilenet_v1", 0.25, {"output_stride": 16}, "is not a network that keras.applications has: 2 layers differ"),
    ("mobilenet_v2", 0.35, {"first_stride": 1}, "is not a network that keras.applications has: 1 layers differ"),
]


@pytest.mark.parametrize(("family", "multiplier", "choices", "sentence"), REFUSED)
def test_what_keras_applications_cannot_build(family, multiplier, choices, sentence, tmp_path):
    model = CONSTRUCTORS[family](multiplier, **{"input_shape": (64, 64, 3), "num_classes": 3, **choices})
    with pytest.raises(converters.ConversionError, match=sentence):
        converters.export(model, tmp_path / "model.h5", "keras-applications")
    assert not list(tmp_path.iterdir())


def test_a_name_by_which_keras_expects_another_format(tmp_path):
    with pytest.raises(converters.ConversionError, match=r"in another format; rename model\.weights\.h5"):
        converters.export(network("mobilenet_v1", 0.25), tmp_path / "model.weights.h5", "keras-applications")
    assert not list(tmp_path.iterdir())


def test_a_fused_model_is_refused(tmp_path):
    model = mobilenets.fuse(mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3))
    with pytest.raises(converters.ConversionError, match=r"is not a network that keras\.applications has"):
        converters.export(model, tmp_path / "model.h5", "keras-applications")


def test_the_command(tmp_path):
    network("mobilenet_v1", 0.25).save(tmp_path / "model.keras")
    arguments = ["export", str(tmp_path / "model.keras"), str(tmp_path / "w.h5"), "--format", "keras-applications"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "was run with keras" in result.stdout and "largest difference is" in result.stdout


def test_moving_statistics_are_those_of_keras_applications(shared, tmp_path):
    """Those of a genuine hub module and of the file that keras.applications downloads.

    The trainable variables differ: the file has averaged values, the module plain ones.
    """
    module = shared / "hub" / "mobilenet_v2_100_224_feature_vector"
    table = shared / "fingerprints" / "keras_applications_mobilenet_v2_100_224_1000_classes.csv"
    conversion = converters.conversion_of(module)
    converters.export(conversion.model, tmp_path / "model.h5", "keras-applications")
    with open(table, encoding="utf-8", newline="") as lines:
        rows = {row["variable_name"]: row["masked_crc32c_of_raw_le_bytes"] for row in csv.DictReader(lines)}
    found = {}
    with h5py.File(tmp_path / "model.h5") as file:
        for layer in file:
            for leaf, values in file[layer][layer].items():
                found[f"{layer}/{leaf.removesuffix(':0')}"] = f"0x{checkpoints.masked_crc32c(values[()]):08x}"
    assert found.keys() == {name for name in rows if not name.startswith("predictions/")}
    equal = {name for name in found if found[name] == rows[name]}
    assert equal == {name for name in found if "/moving_" in name} and len(equal) == 104


def test_names_of_the_published_weights(shared):
    """Google's hub module with averaged values and keras.applications hold the same, layer by layer."""
    table = shared / "fingerprints" / "keras_applications_mobilenet_v2_100_224_1000_classes.csv"
    with open(table, encoding="utf-8", newline="") as lines:
        rows = {row["variable_name"]: row["masked_crc32c_of_raw_le_bytes"] for row in csv.DictReader(lines)}
    theirs = {}
    for name, checksum in rows.items():
        layer, _, leaf = name.partition("/")
        theirs[f"{slim_scope(layer)}/{LEAVES.get(leaf, leaf)}"] = checksum
    ours = published_fingerprints("mobilenet_v2_100_224")
    logits = {name for name in theirs if "/Logits/" in name}
    assert len(logits) == 2 and len(ours) == 260
    assert {name: checksum for name, checksum in theirs.items() if name not in logits} == ours
