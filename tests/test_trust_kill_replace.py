"""Commands that replace an output are killed at any point: what has the final name is the old one or the new one."""

import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest

import checkpoints
import converters
import mobilenets
from converters.exporting import exports, formats
from tests.killing import FILE_WORK, kill_at_random_points, run_whole
from tests.oracle.recipes import made_up_variables

LOADED = ("converters.cli", "converters.manifest", "converters.conversion", "converters.text", "tensorflow")
PROGRAM = "converters.cli:main"


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
    kill_at_random_points(command, check, 12, seed=5, inside=FILE_WORK, loaded=LOADED)
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
    kill_at_random_points(command, check, 8, seed=6, inside=FILE_WORK, loaded=LOADED)


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
    kill_at_random_points(command, check, 8, seed=7, inside=FILE_WORK, loaded=LOADED)


def export_without_running():
    """Exports as the command does, without the format's own runtime, which may not be installed."""
    _, model, path, _, format_name, _ = sys.argv

    def write(model, unfinished, target, _choices, images):
        target.write(model, unfinished, images)
        images = (images + 1) / 2 if target.symmetric else images
        return exports.in_batches(lambda batch: np.asarray(model(batch, training=False)), images)

    exports._written_and_run = write
    exports.find_format = lambda name, *_: formats.FORMATS[name]
    exports.version_of = lambda _: "not run"
    converters.export(converters.load_model(model), path, format_name, force=True)


# The program that writes a folder of the format, and the file of variables in it.
FOLDERS = {
    "savedmodel": (PROGRAM, "variables/variables"),
    "hub": (PROGRAM, "variables/variables"),
    "transformers": ("tests.test_trust_kill_replace:export_without_running", "model.safetensors"),
}
MOVING = ("checkpoints.files", "shutil", "tempfile", "json")


def content(folder, variables):
    """The names of the files of a folder, and its variables."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    arrays = checkpoints.load_variables(folder / variables)
    return names, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("format_name", FOLDERS)
def test_a_replaced_folder(tmp_path, sources, format_name):
    """It is the old one, the new one, or away; then the old one is whole and hidden next to its name."""
    program, variables = FOLDERS[format_name]
    models = [tmp_path / f"{number}.keras" for number in (0, 1)]
    for number, model in enumerate(models):
        convert(tmp_path, number, model)
    folder = tmp_path / "out"
    folder.mkdir()
    path, old = folder / "net", tmp_path / "old"
    states = []

    def command(number, path):
        arguments = ["export", str(models[number]), str(path), "--format", format_name, "--force"]
        return [program, *arguments] if program == PROGRAM else [program, *arguments[1:]]

    run_whole(command(0, path))
    shutil.copytree(path, old)
    before = content(old, variables)

    def check(killed):
        places = [path] if path.exists() else list(folder.glob(".*-net/.replaced"))
        assert len(places) == 1
        found = content(places[0], variables)
        is_old = found == before
        assert found[0] == before[0] and found[1].keys() == before[1].keys()
        assert is_old or path.exists()
        if not killed:
            assert not is_old and [entry.name for entry in folder.iterdir()] == ["net"]
            states.append(found)
        assert is_old or found == states[0]
        states.append(found)
        shutil.rmtree(folder)
        folder.mkdir()
        shutil.copytree(old, path)

    points = kill_at_random_points(command(1, path), check, 5, seed=8, inside=MOVING, loaded=LOADED)
    assert points > 50 and before in states


@pytest.mark.parametrize(("format_name", "suffix"), [("litert", ".tflite"), ("onnx", ".onnx"), ("openvino", ".xml")])
def test_a_replaced_export(tmp_path, sources, format_name, suffix):
    """The files are those of one run. If a format has two, the first may be away; then the old one is hidden."""
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / f"net{suffix}"
    for number in (0, 1):
        convert(tmp_path, number, tmp_path / f"{number}.keras")

    def command(number):
        return [PROGRAM, "export", str(tmp_path / f"{number}.keras"), str(path), "--format", format_name, "--force"]

    def files():
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    run_whole(command(0))
    old, new, states = files(), {}, set()

    def check(killed):
        if not killed:
            new.update(files())
            assert new.keys() == old.keys() and new != old  # an .xml has no weights and may be equal
        if path.exists():
            assert files() in (old, new)
        else:
            (hidden,) = folder.glob(".*/.first")
            assert len(old) == 2 and hidden.read_bytes() == old[path.name]
        states.add((killed, files() == old))
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in old.items():
            (folder / name).write_bytes(content)

    inside = ("checkpoints.files", "tempfile")
    points = kill_at_random_points(command(1), check, 5, seed=9, inside=inside, loaded=LOADED)
    assert points > 50 and (True, True) in states


OUTPUTS = {"page.html": ["verify", "1.keras", "1.ckpt", "--report"], "plot.png": ["info", "1.keras", "--plot"]}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_replaced_page_or_plot(tmp_path, sources, name):
    """The old file or a whole new one, whose first and last bytes are those of its format."""
    convert(tmp_path, 1, tmp_path / "1.keras")
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / name
    ends = []

    def check(killed):
        content = path.read_bytes()
        if not killed:
            ends.extend((content[:8], content[-8:]))
        assert (content[:8], content[-8:]) == tuple(ends) or (killed and content == b"old")
        path.write_bytes(b"old")

    path.write_bytes(b"old")
    command, *arguments, option = OUTPUTS[name]
    files = [str(tmp_path / argument) for argument in arguments]
    inside = ("checkpoints.files", "tempfile", "pathlib", "converters.reports", "converters.inspection")
    kill_at_random_points([PROGRAM, command, *files, option, str(path)], check, 5, inside=inside, loaded=LOADED)
