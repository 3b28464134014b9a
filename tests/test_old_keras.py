"""``.keras`` files and the versions of Keras: what is written for the oldest one, and the messages of the newest."""

import json
import zipfile

import keras
import numpy as np
import pytest

import converters
import mobilenets
from converters.keras_file import open_keras_file
from converters.old_keras import NEW_ARGUMENTS, drop_new_arguments


def arguments(value):
    """All names of arguments in a configuration."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from arguments(item)


def config_of(path):
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("config.json"))


@pytest.fixture
def file(tmp_path):
    mobilenets.MobileNetV1(0.25, (32, 32, 3)).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_defaults_that_keras_3_5_does_not_know_are_left_out(file):
    before = open_keras_file(file)
    drop_new_arguments(file)
    assert not set(arguments(config_of(file))) & set(NEW_ARGUMENTS)
    after = open_keras_file(file)
    assert after.get_config() == before.get_config()
    for one, other in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in file.parent.iterdir()] == ["model.keras"]


def test_values_that_somebody_set_are_kept(tmp_path):
    images = keras.Input((8,), name="images")
    norm = keras.layers.BatchNormalization(name="norm")
    keras.Model(images, norm(images)).save(tmp_path / "model.keras")
    config = config_of(tmp_path / "model.keras")
    config["config"]["layers"][1]["config"]["renorm"] = True
    with zipfile.ZipFile(tmp_path / "set.keras", "w") as file:
        file.writestr("config.json", json.dumps(config))
    drop_new_arguments(tmp_path / "set.keras")
    assert config_of(tmp_path / "set.keras")["config"]["layers"][1]["config"]["renorm"] is True


def test_another_version_is_named(file):
    with zipfile.ZipFile(file) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    config = json.loads(entries["config.json"])
    config["config"]["layers"][2]["config"]["invented"] = 1
    entries["config.json"] = json.dumps(config).encode()
    entries["metadata.json"] = json.dumps({"keras_version": "9.8.7"}).encode()
    with zipfile.ZipFile(file, "w") as target:
        for name, data in entries.items():
            target.writestr(name, data)
    with pytest.raises(converters.ConversionError, match=rf"written with Keras 9\.8\.7, this is {keras.__version__}"):
        open_keras_file(file)
