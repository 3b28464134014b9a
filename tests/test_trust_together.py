"""Two commands at a time, on one output: one wins, and the other says why it did not."""

import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import checkpoints
import converters
import mobilenets
from checkpoints import files
from converters.exporting.variables import export_variables
from converters.images import embedding
from converters.images.models import ImageModel
from tests.oracle.recipes import made_up_variables


@pytest.fixture(scope="module")
def model():
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 10))
    return converters.convert(variables, input_shape=(32, 32, 3), head="classification")


def first(monkeypatch, work):
    """Does something at the last moment before files get their names, as another process may."""
    real, todo = files.locked_folder, [work]

    def locked(folder):
        if todo:
            todo.pop()()
        return real(folder)

    monkeypatch.setattr(files, "locked_folder", locked)


@pytest.mark.parametrize(
    ("export", "name"),
    [
        (lambda model, path, force: converters.export(model, path, "savedmodel", force=force), "folder"),
        (lambda model, path, force: export_variables(model, path, force), "net.safetensors"),
    ],
    ids=["folder", "file"],
)
def test_two_exports_to_one_new_path(tmp_path, monkeypatch, model, export, name):
    path = tmp_path / name
    first(monkeypatch, lambda: export(model, path, False))
    with pytest.raises(converters.ConversionError, match=f"{name} exists; use --force"):
        export(model, path, False)
    before = path.stat().st_ino
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    export(model, path, True)
    assert path.stat().st_ino != before


def test_a_lock_of_a_folder_leaves_nothing(tmp_path):
    with files.locked_folder(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    with files.locked_folder(tmp_path / "missing"):
        pass


@pytest.fixture
def photos(tmp_path):
    for number in range(4):
        keras.utils.save_img(tmp_path / f"{number}.png", np.full((32, 32, 3), number * 50.0))
    return sorted(str(path) for path in tmp_path.glob("*.png"))


def image_model(model):
    return ImageModel(model, "net", (32, 32))


@pytest.mark.parametrize("same_job", [True, False])
def test_embed_with_force_while_another_runs(tmp_path, model, photos, same_job):
    """The parts of the other are not touched while it works."""
    output = tmp_path / "features.npz"
    others = []

    def start_another(done, total):
        if done and not others:
            images = photos if same_job else photos[:2]
            with pytest.raises(ValueError, match=r"Another process is writing .*features.npz") as error:
                converters.embed(image_model(model), images, output, part_size=1, force=True)
            others.append(error)

    result = converters.embed(image_model(model), photos, output, part_size=1, force=True, progress=start_another)
    assert others and result.count == 4
    assert not pathlib.Path(f"{output}.parts").exists()


def test_embed_does_not_replace_what_another_wrote_meanwhile(tmp_path, monkeypatch, model, photos):
    output = tmp_path / "features.npz"
    real, todo = embedding.locked_parts, [photos[:2]]

    def locked(parts, path):
        if todo:
            converters.embed(image_model(model), todo.pop(), output)
        return real(parts, path)

    monkeypatch.setattr(embedding, "locked_parts", locked)
    with pytest.raises(ValueError, match="exists; use --force"):
        converters.embed(image_model(model), photos, output)
    assert not pathlib.Path(f"{output}.parts").exists()
    assert converters.embed(image_model(model), photos[:2], output).resumed == 2


def test_embed_after_a_run_that_was_killed_before_its_first_part(tmp_path, model, photos):
    output = tmp_path / "features.npz"
    parts = pathlib.Path(f"{output}.parts")
    parts.mkdir()
    (parts / "lock").touch()
    assert converters.embed(image_model(model), photos, output).count == 4
    assert os.listdir(tmp_path).count("features.npz.parts") == 0


def test_a_full_disk_is_a_sentence(tmp_path):
    path = tmp_path / "net.h5"
    for error in (OSError(28, "No space left on device"), OSError(27, "File too large")):
        with (
            pytest.raises(checkpoints.CheckpointError, match=r"net.h5 was not written: (No space|File too)"),
            checkpoints.replacing(path),
        ):
            raise error
    with pytest.raises(OSError, match="other"), checkpoints.replacing(path):
        raise OSError(5, "other")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_a_hub_module_is_written(tmp_path, monkeypatch, model):
    """TensorFlow has errors of its own for it."""

    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(converters.ConversionError, match=r"module was not written: .*No space left on device"):
        converters.export_hub(model, tmp_path / "module")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("version", "message"),
    [(1, r"^\S+net.ckpt was replaced or changed while it was read; read it again\.$"), (2, "damaged or cut short")],
)
def test_a_checkpoint_that_is_replaced_while_it_is_read(tmp_path, version, message):
    """Values of two checkpoints are never mixed, although they are in the same places."""
    path = tmp_path / "net.ckpt"

    def save(value):
        checkpoints.save_checkpoint({name: np.full(3000, value, np.float32) for name in "ab"}, path, version)

    save(1)
    with checkpoints.open_variables(path) as variables:
        assert variables["a"][0] == 1
        save(2)
        with pytest.raises(checkpoints.CheckpointError, match=message):
            print(variables["b"])
    assert {array[0] for array in checkpoints.load_variables(path).values()} == {2}
