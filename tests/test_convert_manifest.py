"""The manifest next to a model: what it lists, and that it detects changed and swapped weights."""

import hashlib
import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import checkpoints
import converters
from converters import ConversionError
from converters.manifest import manifest_path
from tests.oracle.files import write_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """``(folder, checkpoint, what it holds)`` with ``model.keras`` in the folder."""
    folder = tmp_path_factory.mktemp("saved")
    prefix = folder / "mobilenet_v1_0.25_128.ckpt"
    written = write_checkpoint(prefix, "mobilenet_v1", 0.25)
    converters.save_model(converters.conversion_of(prefix), folder / "model.keras")
    return folder, prefix, written


def changed(folder, target, change):
    """A copy of the model whose weights file went through ``change``, next to the unchanged manifest."""
    shutil.copy(manifest_path(folder / "model.keras"), manifest_path(target))
    with zipfile.ZipFile(folder / "model.keras") as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name.endswith(".weights.h5"):
                weights = target.with_suffix(".h5")
                weights.write_bytes(source.read(name))
                with h5py.File(weights, "r+") as file:
                    change(file["layers"])
                copy.write(weights, name)
            else:
                copy.writestr(name, source.read(name))
    return target


def test_it_tells_where_the_weights_came_from(saved):
    folder, prefix, _ = saved
    manifest = converters.read_manifest(folder / "model.manifest.json")
    for file in (f"{prefix.name}.index", f"{prefix.name}.data-00000-of-00001"):
        content = (folder / file).read_bytes()
        assert manifest["source"]["files"][file] == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
    assert manifest["configuration"]["name"] == "mobilenet_v1_025_128"
    assert manifest["configuration"]["depth_multiplier"] == 0.25
    assert manifest["averaged_variables"] == 83
    assert manifest["set_aside"]["global_step"] == 1
    assert len(manifest["variables"]) == 137


def test_checksums_are_those_of_tensorflows_index(saved, tmp_path):
    """TensorFlow's own writer puts the same masked crc32c into the index of a checkpoint of these variables."""
    folder, _, _ = saved
    manifest = converters.read_manifest(folder / "model.manifest.json")
    found = converters.slim_variables(converters.load_model(folder / "model.keras"))
    variables = {name: tf.Variable(array) for name, array in found.items()}
    prefix = tf.compat.v1.train.Saver(variables).save(None, str(tmp_path / "again"), write_meta_graph=False)
    index = (tmp_path / "again.index").read_bytes()
    assert prefix
    for name, facts in manifest["variables"].items():
        assert int(facts["masked_crc32c"], 16).to_bytes(4, "little") in index, name


def test_an_unchanged_model_loads(saved):
    folder, prefix, _ = saved
    model = converters.load_model(folder / "model.keras")
    assert converters.verify(model, folder / "model.manifest.json").passed
    assert converters.verify(folder / "model.keras", prefix).passed


def test_swapped_weights_are_detected(saved, tmp_path):
    """Keras alone loads such a file without complaint."""

    def swap(layers):
        one, other = (layers["batch_normalization"]["vars"][index] for index in ("0", "1"))
        one[...], other[...] = other[...], one[...]

    target = changed(saved[0], tmp_path / "swapped.keras", swap)
    assert keras.saving.load_model(target)
    with pytest.raises(ConversionError, match=r"2 different \(!\)") as error:
        converters.load_model(target)
    for leaf in ("gamma", "beta"):
        assert f"! MobilenetV1/Conv2d_0/BatchNorm/{leaf}" in str(error.value)


def test_one_changed_bit_is_detected(saved, tmp_path):
    def flip(layers):
        kernel = layers["conv2d_3"]["vars"]["0"]
        values = kernel[...]
        values.flat[5] = np.nextafter(values.flat[5], np.inf)
        kernel[...] = values

    target = changed(saved[0], tmp_path / "flipped.keras", flip)
    with pytest.raises(ConversionError, match=r"1 different \(!\)\n! MobilenetV1/.*weights"):
        converters.load_model(target)
    report = converters.verify(target, manifest_path(target))
    assert not report.passed
    assert [row.finding for row in report.rows if not row.passed] == ["masked_crc32c differ"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[1, 2]", '{"format": "mobilenets manifest", "format_version": 99}', "\x00"]
)
def test_what_is_no_manifest(saved, tmp_path, content):
    shutil.copy(saved[0] / "model.keras", tmp_path / "model.keras")
    with pytest.raises(FileNotFoundError):
        converters.load_model(tmp_path / "model.keras")
    (tmp_path / "model.manifest.json").write_text(content)
    with pytest.raises(ConversionError, match=r"model.manifest.json is not a manifest"):
        converters.load_model(tmp_path / "model.keras")


def test_what_is_no_keras_file(tmp_path):
    (tmp_path / "model.keras").write_text("no zip")
    with pytest.raises(ConversionError, match=r"model.keras cannot be opened as a Keras model"):
        converters.load_model(tmp_path / "model.keras")


def test_stock_keras_loads_it_without_this_package(saved):
    """No custom object is in the file."""
    with zipfile.ZipFile(saved[0] / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    registered = {layer["registered_name"] for layer in config["config"]["layers"]}
    modules = {layer["module"] for layer in config["config"]["layers"]}
    assert registered <= {None, "Functional"} and modules == {"keras.layers"}


def test_fingerprints_of_the_genuine_module(shared):
    """The moving statistics of the published MobileNet V2 module, by the checksums of its own index."""
    held = checkpoints.load_variables(shared / "real" / "mobilenet_v2_1.0_224_raw_backbone.ckpt")
    lines = (shared / "fingerprints" / "mobilenet_v2_100_224_feature_vector.csv").read_text().splitlines()[1:]
    expected = {name: checksum for _, name, _, checksum in (line.split(",") for line in lines)}
    moving = {name: array for name, array in held.items() if "/moving_" in name}
    assert len(moving) == 104
    assert all(f"0x{checkpoints.masked_crc32c(array):08x}" == expected[name] for name, array in moving.items())
