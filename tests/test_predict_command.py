"""``mobilenets predict`` as a user meets it."""

import json
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
from converters.cli import main
from converters.commands.predict import predict_command
from converters.conversion import conversion_of
from converters.images.image_paths import ImagePaths
from converters.images.models import open_image_model
from converters.images.photographs import load_images
from converters.images.prediction import best, softmax
from converters.saving import save_model
from tests.embedding_job import write_images, write_model


def invoke(*arguments):
    program = type(main)("mobilenets", commands={"predict": predict_command})
    return CliRunner().invoke(program, ["predict", *map(str, arguments)], prog_name="mobilenets")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of five classes, its labels, and a folder of images, one of them broken."""
    folder = tmp_path_factory.mktemp("predict")
    write_model(folder / "model.keras", num_classes=5)
    (folder / "labels.txt").write_text("red\ngreen\nblue\nwhite\nblack\n")
    write_images(folder / "good", 5)
    write_images(folder / "mixed" / "inner", 3, broken=(1,))
    return folder


@pytest.mark.parametrize("size", [128, 224])
def test_the_panda(shared, tmp_path, size):
    path = tmp_path / "v1.keras"
    prefix = shared / "real" / f"mobilenet_v1_0.25_{size}" / f"mobilenet_v1_0.25_{size}.ckpt"
    save_model(conversion_of(prefix), path)
    labels = shared / "images" / "imagenet_slim_labels.txt"
    result = invoke(path, shared / "images" / "panda.jpg", "--labels", labels)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith("panda.jpg") and len(lines) == 6
    assert lines[1].split()[1:] == ["389", "giant", "panda"]


def test_a_checkpoint_is_a_model_too(shared):
    prefix = shared / "real" / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt"
    labels = shared / "images" / "imagenet_slim_labels.txt"
    result = invoke(prefix, shared / "images" / "panda.jpg", "--labels", labels, "--top", 1, "--json")
    ((guess,),) = [facts["predictions"] for facts in json.loads(result.stdout)]
    assert (guess["class"], guess["label"]) == (389, "giant panda")


def test_json_holds_what_the_model_computes(folder):
    result = invoke(folder / "model.keras", folder / "good", "--json", "--batch-size", 2)
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)
    paths = sorted((folder / "good").iterdir())
    assert [facts["path"] for facts in answers] == list(map(str, paths))
    model = keras.saving.load_model(folder / "model.keras")
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(load_images(paths, 64))))
    for facts, row in zip(answers, expected, strict=True):
        guesses = facts["predictions"]
        assert [guess["class"] for guess in guesses] == list(np.argsort(-row))
        np.testing.assert_allclose([guess["probability"] for guess in guesses], np.sort(row)[::-1], rtol=0, atol=1e-5)
        assert [guess["label"] for guess in guesses] == [f"class {guess['class']}" for guess in guesses]


def test_a_broken_image_is_reported_and_the_others_are_classified(folder):
    result = invoke(folder / "model.keras", folder / "mixed", "absent.png", "--labels", folder / "labels.txt")
    assert result.exit_code == 1
    assert result.stdout.count(".png\n") == 2 and "001.png" not in result.stdout
    assert "001.png is not an image" in result.stderr and "absent.png cannot be read" in result.stderr
    answers = json.loads(invoke(folder / "model.keras", folder / "mixed", "--json").stdout)
    assert ["error" in facts for facts in answers] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model.keras", "empty"], "holds no images"),
        (["model.keras", "good/*.gif"], "No file matches"),
        (["absent.keras", "good"], "does not exist"),
        (["model.keras", "good", "--image-size", 96], "takes images of 64x64 pixels, not of 96x96"),
        (["model.keras", "good", "--labels", "good/000.png"], "not text in UTF-8"),
        (["features.keras", "good"], "does not classify"),
        (["tiny.keras", "good"], "none of this package's networks"),
        (["model.keras"], "Name an image"),
    ],
)
def test_unusable_input(folder, monkeypatch, arguments, sentence):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    if "features.keras" in arguments:
        write_model(folder / "features.keras", head="feature_vector")
    if "tiny.keras" in arguments:
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]).save(folder / "tiny.keras")
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_paths(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "list.txt").write_text("good/000.png\n\nwith space .png\r\n")
    paths = ImagePaths(["mixed", "good/00[12].png", "x.png"], ["list.txt"])
    expected = [f"mixed/inner/00{n}.png" for n in range(3)] + ["good/001.png", "good/002.png", "x.png"]
    for _ in range(2):
        assert list(paths) == [*expected, "good/000.png", "with space .png"]
    (folder / "brackets [1].png").touch()
    assert list(ImagePaths(["brackets [1].png"])) == ["brackets [1].png"]
    with pytest.raises(FileNotFoundError, match="list of images"):
        ImagePaths(lists=["absent.txt"])


def test_weights_that_differ_from_the_manifest(folder, shared, tmp_path):
    prefix = shared / "real" / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt"
    conversion = conversion_of(prefix)
    save_model(conversion, tmp_path / "v1.keras")
    layer = next(layer for layer in conversion.model.layers if layer.weights)
    layer.weights[0].assign(layer.weights[0] + 1)
    conversion.model.save(tmp_path / "v1.keras")
    with pytest.raises(converters.ConversionError, match="does not hold the weights"):
        open_image_model(tmp_path / "v1.keras")


@pytest.mark.parametrize(("arguments", "size"), [({"input_shape": (None, None, 3)}, 224), ({}, 64)])
def test_the_image_size(tmp_path, arguments, size):
    path = write_model(tmp_path / "model.keras", **arguments)
    assert open_image_model(path).image_size == (size, size)
    if size == 224:
        assert open_image_model(path, 96).image_size == (96, 96)


def test_images_from_minus_one_to_one(tmp_path):
    """A model that takes [-1, 1] gets images in that range, and computes the same."""
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    found = [
        open_image_model(write_model(tmp_path / f"{unit}.keras", rescale_inputs=unit)).logits()(images)
        for unit in (True, False)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5 * np.abs(found[0]).max())


def test_softmax_and_order():
    probabilities = softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32))
    np.testing.assert_array_equal(probabilities, [[0.5, 0.5, 0.0]])
    assert best(probabilities[0], 2) == ((0, 0.5), (1, 0.5))


@pytest.mark.parametrize("command", ["predict", "evaluate", "embed"])
def test_notes_on_the_conversion_of_a_checkpoint(command, folder, tmp_path, monkeypatch):
    """All of them are printed, NaN too, and each is a warning in Python."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    variables = converters.slim_variables(converters.open_image_model(folder / "model.keras").model)
    variables["MobilenetV1/Conv2d_0/weights"][0, 0, 0, 0] = np.nan
    prefix = tmp_path / "net.ckpt"
    checkpoints.save_checkpoint(variables, prefix)
    shutil.copytree(folder / "good", tmp_path / "classes" / "0")
    arguments = {
        "predict": [folder / "good"],
        "evaluate": [tmp_path / "classes", "--labels", folder / "labels.txt"],
        "embed": [folder / "good", "-o", tmp_path / "out.npz"],
    }[command]
    size = ["--image-size", "224"]
    result = CliRunner().invoke(main, [command, str(prefix), *map(str, arguments), *size])
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert notes == [f"Note: {note}" for note in converters.conversion_of(prefix).notes]
    assert any("NaN" in note for note in notes) and "Warning" not in result.stderr
    with pytest.warns(converters.ConversionWarning, match="NaN"):
        opened = open_image_model(prefix)
    assert [f"Note: {note}" for note in opened.notes] == notes


@pytest.mark.parametrize("command", ["predict", "evaluate", "embed"])
def test_a_model_that_is_not_square(command, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    path = write_model(tmp_path / "wide.keras", input_shape=(48, 80, 3), num_classes=5)
    shutil.copytree(folder / "good", tmp_path / "classes" / "0")
    arguments = {
        "predict": [folder / "good"],
        "evaluate": [tmp_path / "classes"],
        "embed": [folder / "good", "-o", tmp_path / "out.npz"],
    }[command]
    for size in ([], ["--image-size", "48x80"]):
        result = CliRunner().invoke(main, [command, str(path), *map(str, arguments), *size, "--json"])
        assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    if command == "predict":
        model, paths = keras.saving.load_model(path), sorted((folder / "good").iterdir())
        expected = keras.ops.convert_to_numpy(model(load_images(paths, (48, 80)))).argmax(1)
        assert [answer["predictions"][0]["class"] for answer in facts] == list(expected)
    assert command != "evaluate" or facts["image_size"] == [48, 80]
    result = CliRunner().invoke(main, [command, str(path), *map(str, arguments), "--image-size", "80x48"])
    assert result.exit_code == 2 and "takes images of 48x80 pixels, not of 80x48" in result.stderr


def test_names_that_begin_with_a_dot_are_skipped_in_folders(tmp_path):
    write_images(tmp_path / "images" / ".thumbnails", 1)
    (shown,) = write_images(tmp_path / "images", 1)
    hidden = shutil.copy(shown, tmp_path / "images" / "._000.png")
    assert list(ImagePaths([tmp_path / "images"])) == [str(shown)]
    assert list(ImagePaths([hidden])) == [str(hidden)]
    shown.unlink()
    with pytest.raises(ValueError, match="holds no images"):
        ImagePaths([tmp_path / "images"])


def test_no_answers_are_a_list_too(folder, tmp_path):
    (tmp_path / "empty.txt").touch()
    assert json.loads(invoke(folder / "model.keras", "--list", tmp_path / "empty.txt", "--json").stdout) == []


def test_linked_folders_are_searched_once(tmp_path):
    (first,) = write_images(tmp_path / "elsewhere", 1)
    (own,) = write_images(tmp_path / "images", 1)
    for name in ("link", "second"):
        (tmp_path / "images" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    assert list(ImagePaths([tmp_path / "images"])) == [str(own), str(tmp_path / "images" / "link" / first.name)]


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".jpe", ".JPE"])
def test_suffixes_of_images(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    (tmp_path / "notes.txt").touch()
    assert list(ImagePaths([tmp_path])) == [str(path)]


def test_a_list_with_a_byte_order_mark(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa.png\r\nb.png\r\n\r\n".encode())
    assert list(ImagePaths(lists=[tmp_path / "list.txt"])) == ["a.png", "b.png"]
