"""``mobilenets export`` as a user meets it."""

import json
import os

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner

import converters
import mobilenets
from converters.cli import main
from converters.commands.export import export_command
from converters.exporting.formats import FORMATS, QUANTIZATIONS
from tests.networks import set_weights, slim_weights
from tests.oracle import made_up_variables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a folder of images for it."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("cli")
    model = mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3)
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    model.save(folder / "model.keras")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(256, size=(40, 50, 3), dtype=np.uint8)
        tf.io.write_file(str(folder / "photos" / f"{index}.png"), tf.io.encode_png(pixels))
    (folder / "photos" / "notes.txt").write_text("no image")
    return folder


def invoke(*arguments):
    """The command in the program that it belongs to, which reports unusable input."""
    program = type(main)("mobilenets", commands={"export": export_command})
    return CliRunner().invoke(program, ["export", *map(str, arguments)], prog_name="mobilenets")


def test_the_choices_are_those_of_the_library():
    choices = {option.name: option.type for option in export_command.params}
    assert list(choices["format_name"].choices) == [*FORMATS, "hub", "safetensors"]
    assert list(choices["quantize"].choices) == list(QUANTIZATIONS)
    assert isinstance(export_command, click.Command)


@pytest.mark.parametrize(("format", "name"), [("savedmodel", "out"), ("litert", "out.tflite"), ("onnx", "out.onnx")])
def test_the_difference_is_printed(format, name, folder, tmp_path):
    result = invoke(folder / "model.keras", tmp_path / name, "--format", format)
    assert result.exit_code == 0, result.output
    assert "largest difference is" in result.stdout and "on 3 images" in result.stdout
    assert os.listdir(tmp_path) == [name]


def test_int8_with_a_folder_of_images(folder, tmp_path):
    path = tmp_path / "out.tflite"
    options = ["--format", "litert", "--quantize", "int8", "--representative", folder / "photos", "--json"]
    result = invoke(folder / "model.keras", path, *options)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["path"], facts["quantization"], facts["images"]) == (str(path), "int8", 6)
    assert facts["size"] == path.stat().st_size
    assert 0 <= facts["top1_agreement"] <= 1
    assert 0 < facts["max_relative"] <= facts["tolerance"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.keras", "out.tflite", "--format", "litert"], "none.keras does not exist"),
        (["model.keras", "out.onnx", "--format", "litert"], "must end in .tflite"),
        (["model.keras", "out", "--format", "caffe"], "'caffe' is not one of"),
        (["model.keras", "out", "--format", "hub", "--quantize", "int8"], "--format hub takes"),
        (["model.keras", "out.tflite", "--format", "litert", "--quantize", "int8"], "int8 needs images"),
        (["model.keras", "out.st", "--format", "safetensors"], "must end in .safetensors"),
        (["model.keras", "out.safetensors", "--format", "safetensors", "--unfused"], "--format safetensors takes"),
        (["model.keras", "out.keras", "--format", "keras-applications"], "must end in .h5"),
        (["model.keras", "out", "--format", "savedmodel", "--quantize", "int8"], "Only litert can be quantized"),
        (["model.keras", "photos", "--format", "savedmodel"], "exists"),
        (["model.keras", "photos", "--format", "savedmodel", "--force"], "will not be replaced"),
        (["model.keras", "out.tflite", "--format", "litert", "--images", "nowhere"], "nowhere"),
        (
            ["model.keras", "out.tflite", "--format", "litert", "--images", "photos/notes.txt"],
            "notes.txt is not an image",
        ),
    ],
)
def test_unusable_input_is_one_sentence_and_status_2(arguments, sentence, folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr and "Traceback" not in result.output
    assert sorted(os.listdir(folder)) == ["model.keras", "photos"]


def test_safetensors_hold_the_variables_of_the_model(folder, tmp_path):
    import safetensors.numpy

    path = tmp_path / "out.safetensors"
    result = invoke(folder / "model.keras", path, "--format", "safetensors", "--json")
    assert result.exit_code == 0, result.output
    found = safetensors.numpy.load_file(path)
    loaded = keras.saving.load_model(folder / "model.keras")
    expected = {name: np.asarray(weight) for name, weight in slim_weights(loaded).items()}
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    assert json.loads(result.stdout) == {
        "path": str(path),
        "format": "safetensors",
        "variables": len(expected),
        "size": path.stat().st_size,
    }
    assert invoke(folder / "model.keras", path, "--format", "safetensors").exit_code == 2
    again = invoke(folder / "model.keras", path, "--format", "safetensors", "--force")
    assert again.exit_code == 0 and f"its {len(expected)} variables equal those of the model" in again.stdout
    assert os.listdir(tmp_path) == ["out.safetensors"]


def test_a_mismatch_is_status_1(folder, tmp_path, monkeypatch):
    from converters.exporting import exports

    monkeypatch.setitem(exports.TOLERANCES, None, 0.0)
    result = invoke(folder / "model.keras", tmp_path / "out.tflite", "--format", "litert")
    assert result.exit_code == 1
    assert "was not written" in result.stderr
    assert not list(tmp_path.iterdir())


def test_folders_and_globs_stand_for_the_images_in_them(folder, tmp_path):
    photos = folder / "photos"
    options = ["--format", "litert", "--json", "--images", photos, "--images", photos / "[01].png"]
    result = invoke(folder / "model.keras", tmp_path / "out.tflite", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 8


def test_a_model_that_is_not_square(folder, tmp_path):
    model = mobilenets.MobileNetV1(0.25, (48, 32, 3), num_classes=3)
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    model.save(tmp_path / "model.keras")
    options = ["--format", "litert", "--quantize", "int8", "--images", folder / "photos", "--json"]
    result = invoke(tmp_path / "model.keras", tmp_path / "out.tflite", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 6


@pytest.mark.parametrize("known", [True, False])
def test_a_model_for_any_size_is_calibrated_at_the_size_that_predict_uses(known, folder, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    model = mobilenets.MobileNetV1(0.25, (None, None, 3), num_classes=3)
    variables = converters.slim_variables(model)
    name = "mobilenet_v1_025_128" if known else None
    conversion = converters.conversion_of(variables, name=name, input_shape=(None, None, 3))
    converters.save_model(conversion, path)
    sizes = []

    def export(model, path, format, *, images, **_):
        sizes.append(images.shape[1:3])
        raise converters.ExportMismatch("Stop here.")

    monkeypatch.setattr(converters, "export", export)
    result = invoke(path, tmp_path / "out.tflite", "--format", "litert", "--images", folder / "photos" / "0.png")
    assert result.exit_code == 1
    assert sizes == [(128, 128) if known else (224, 224)] == [converters.open_image_model(path).image_size]


@pytest.mark.parametrize("format", ["litert", "hub"])
def test_a_file_that_differs_from_its_manifest_is_refused(format, tmp_path):
    variables = converters.slim_variables(mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3))
    conversion = converters.conversion_of(variables, input_shape=(32, 32, 3))
    converters.save_model(conversion, tmp_path / "model.keras")
    layer = next(layer for layer in conversion.model.layers if layer.weights)
    layer.weights[0].assign(-layer.weights[0])
    conversion.model.save(tmp_path / "model.keras")
    before = sorted(os.listdir(tmp_path))
    result = invoke(tmp_path / "model.keras", tmp_path / "out.tflite", "--format", format)
    assert result.exit_code == 2
    assert "does not hold the weights that its manifest lists" in result.stderr
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("command", [["verify", "m.keras", "x.ckpt"], ["export", "m.keras", "m.tflite"]])
def test_an_image_size_is_that_of_images(command):
    result = CliRunner().invoke(main, [*command, "--image-size", "96"])
    assert result.exit_code == 2 and "--image-size is the size of --images" in result.stderr


@pytest.mark.parametrize("command", [["verify"], ["export"]])
def test_an_image_size_that_the_model_does_not_take(command, tmp_path):
    model = mobilenets.build("mobilenet_v1_025_128", input_shape=(32, 32, 3))
    model.save(tmp_path / "m.keras")
    keras.utils.save_img(tmp_path / "a.png", np.zeros((8, 8, 3)))
    other = tmp_path / "m.keras" if command == ["verify"] else tmp_path / "m.tflite"
    words = [*command, tmp_path / "m.keras", other, "--images", tmp_path / "a.png", "--image-size", "64"]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 2 and "m.keras takes images of 32x32 pixels, not of 64x64" in result.stderr


@pytest.mark.parametrize("command", [["verify"], ["export"]])
def test_the_images_get_the_size_of_the_command_line(command, tmp_path, monkeypatch):
    mobilenets.MobileNetV1(0.25, (None, None, 3), num_classes=3).save(tmp_path / "m.keras")
    keras.utils.save_img(tmp_path / "a.png", np.zeros((8, 8, 3)))
    shapes = []

    def stop(*arguments, **choices):
        shapes.append((choices.get("images") if command == ["export"] else arguments[2]).shape)
        raise ValueError("seen")

    monkeypatch.setattr(converters, command[0], stop)
    other = tmp_path / "m.keras" if command == ["verify"] else tmp_path / "m.tflite"
    words = [*command, tmp_path / "m.keras", other, "--images", tmp_path / "a.png", "--image-size", "40x64"]
    CliRunner().invoke(main, list(map(str, words)))
    assert shapes == [(1, 40, 64, 3)]
