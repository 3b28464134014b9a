"""``mobilenets export`` as a user meets it."""

import json
import os

import click
import numpy as np
import pytest
from click.testing import CliRunner

import mobilenets
from converters.cli import main
from converters.commands.export import export_command, image_files
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
    assert list(choices["format_name"].choices) == [*FORMATS, "hub"]
    assert list(choices["quantize"].choices) == list(QUANTIZATIONS)
    assert isinstance(export_command, click.Command)


@pytest.mark.parametrize(("format", "name"), [("savedmodel", "out"), ("litert", "out.tflite"), ("onnx", "out.onnx")])
def test_the_figure_is_printed(format, name, folder, tmp_path):
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


def test_a_mismatch_is_status_1(folder, tmp_path, monkeypatch):
    from converters.exporting import exports

    monkeypatch.setitem(exports.TOLERANCES, None, 0.0)
    result = invoke(folder / "model.keras", tmp_path / "out.tflite", "--format", "litert")
    assert result.exit_code == 1
    assert "was not written" in result.stderr
    assert not list(tmp_path.iterdir())


def test_folders_stand_for_the_images_in_them(folder, tmp_path):
    photos = folder / "photos"
    assert image_files((photos, photos / "notes.txt")) == [*sorted(photos.glob("*.png")), photos / "notes.txt"]
    with pytest.raises(ValueError, match="holds no images"):
        image_files((tmp_path,))
