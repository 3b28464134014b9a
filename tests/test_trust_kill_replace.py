"""Commands that replace an output are killed at any point: what has the final name is the old one or the new one."""

import pathlib

import keras
import numpy as np
import pytest

import checkpoints
import converters
import mobilenets
from tests.killing import FILE_WORK, kill_at_random_points
from tests.oracle.recipes import made_up_variables

LOADED = ("converters.cli", "converters.manifest", "converters.conversion", "converters.text", "tensorflow")
PROGRAM = "converters.cli:main"
pytestmark = pytest.mark.long


@pytest.fixture
def sources(tmp_path):
    """Two checkpoints of one network, and what they hold."""
    shapes = mobilenets.variable_shapes("mobilenet_v1", 0.25, 10)
    values = [made_up_variables(shapes, seed) for seed in (1, 2)]
    for number, variables in enumerate(values):
        checkpoints.save_checkpoint(variables, tmp_path / f"{number}.ckpt")
    return values


def whose(found, values):
    """The number of the checkpoint with these variables, all of them."""
    (number,) = [
        number
        for number, variables in enumerate(values)
        if found.keys() == variables.keys()
        and all(found[name].tobytes() == np.asarray(variables[name]).tobytes() for name in found)
    ]
    return number


def convert(tmp_path, number, path):
    conversion = converters.conversion_of(tmp_path / f"{number}.ckpt", input_shape=(64, 64, 3))
    converters.save_model(conversion, path, True, verify=False)


def test_a_replaced_model(tmp_path, sources):
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "net.keras"
    states = set()

    def reset():
        convert(tmp_path, 0, path)

    def check(killed):
        number = whose(converters.slim_variables(converters.load_model(path)), sources)
        assert killed or number == 1
        states.add((killed, number))
        reset()

    reset()
    command = [PROGRAM, "convert", str(tmp_path / "1.ckpt"), "--image-size", "64", "-o", str(path), "--force"]
    kill_at_random_points(command, check, 25, seed=5, inside=FILE_WORK, loaded=LOADED)
    assert (True, 0) in states


def test_a_replaced_file_of_variables(tmp_path, sources):
    convert(tmp_path, 1, tmp_path / "net.keras")
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "net.safetensors"

    def reset():
        checkpoints.save_safetensors(sources[0], path)

    def check(killed):
        number = whose(checkpoints.load_variables(path), sources)
        assert killed or number == 1
        reset()

    reset()
    command = [PROGRAM, "export", str(tmp_path / "net.keras"), str(path), "--format", "safetensors", "--force"]
    kill_at_random_points(command, check, 15, seed=6, inside=FILE_WORK, loaded=LOADED)


def test_a_replaced_file_of_features(tmp_path, sources):
    convert(tmp_path, 1, tmp_path / "net.keras")
    for number in range(3):
        keras.utils.save_img(tmp_path / f"{number}.png", np.full((64, 64, 3), number * 80.0))
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "features.npz"

    def check(killed):
        if killed:
            assert not path.exists() or np.load(path, allow_pickle=False)["features"].shape[0] == 3
            return
        assert np.load(path, allow_pickle=False)["features"].shape[0] == 3
        assert [entry.name for entry in pathlib.Path(folder).iterdir()] == ["features.npz"]
        path.unlink()

    command = [PROGRAM, "embed", str(tmp_path / "net.keras"), str(tmp_path), "-o", str(path), "--force"]
    kill_at_random_points(command, check, 15, seed=7, inside=FILE_WORK, loaded=LOADED)
