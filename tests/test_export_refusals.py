"""Exports that are refused, or fail: nothing is left behind."""

import importlib.util
import os

import keras
import numpy as np
import pytest

import converters
import mobilenets
from converters.exporting import exports, formats
from converters.exporting.table import FILES
from tests.oracle import made_up_images


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return mobilenets.MobileNetV1(0.25, (32, 32, 3), num_classes=3)


@pytest.mark.parametrize(
    ("name", "format", "choices", "sentence"),
    [
        (
            "model.pb",
            "frozen",
            {},
            "format must be one of savedmodel, litert, onnx, openvino, keras-applications, transformers, not 'fr",
        ),
        ("model.tflite", "litert", {"quantization": "int4"}, "quantization must be None or one of float16, int8"),
        ("model.onnx", "onnx", {"quantization": "float16"}, "Only litert can be quantized, not onnx"),
        ("model.tflite", "litert", {"quantization": "int8"}, "int8 needs images"),
        ("model.onnx", "litert", {}, "must end in .tflite"),
        ("model", "onnx", {}, "must end in .onnx"),
        ("none/model.tflite", "litert", {}, "does not exist"),
        ("model.tflite", "litert", {"images": np.zeros((2, 48, 48, 3))}, r"have the shape \(2, 48, 48, 3\)"),
        ("model.tflite", "litert", {"images": np.zeros((0, 32, 32, 3))}, r"have the shape \(0, 32, 32, 3\)"),
        ("model.tflite", "litert", {"images": np.zeros((32, 32, 3))}, r"have the shape \(32, 32, 3\)"),
        ("model.tflite", "litert", {"images": np.zeros((2, 32, 32, 3), np.uint8)}, "images are uint8"),
    ],
)
def test_unusable_arguments(name, format, choices, sentence, model, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        converters.export(model, tmp_path / name, format, **choices)
    assert not list(tmp_path.iterdir())


def test_models_with_several_outputs_are_refused(model, tmp_path):
    taps = keras.Model(model.input, mobilenets.endpoints(model))
    with pytest.raises(converters.ConversionError, match="one input and one output"):
        converters.export(taps, tmp_path / "model", "savedmodel")


@pytest.mark.parametrize(("format", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml"), ("litert", ".tflite")])
def test_missing_packages_are_named_with_the_extra(format, suffix, model, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    hidden = FILES[format].packages[0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == hidden else found(name))
    with pytest.raises(converters.ConversionError, match=rf"\({hidden}.*pip install 'mobilenets\[{format}\]'"):
        converters.export(model, tmp_path / f"model{suffix}", format)


def test_too_old_a_keras_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.7.0")
    with pytest.raises(converters.ConversionError, match=r"onnx needs Keras 3\.8 or later; this is 3\.7\.0"):
        converters.export(model, tmp_path / "model.onnx", "onnx")


@pytest.mark.parametrize(("format", "name"), [("savedmodel", "model"), ("litert", "model.tflite")])
def test_a_mismatch_is_an_error_and_not_written(format, name, model, tmp_path, monkeypatch):
    other = keras.models.clone_model(model)
    monkeypatch.setattr(mobilenets, "fuse", lambda model: other)
    with pytest.raises(exports.ExportMismatch, match=f"was not written: {formats.FORMATS[format].runtime}"):
        converters.export(model, tmp_path / name, format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["write", "load"])
def test_a_failing_runtime_is_one_sentence_and_leaves_nothing(failing, model, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such operation\nand many more lines")

    row = formats.FORMATS["litert"]._replace(**{failing: fail})
    monkeypatch.setitem(formats.FORMATS, "litert", row)
    with pytest.raises(converters.ConversionError, match=r"to litert failed: no such operation$"):
        converters.export(model, tmp_path / "model.tflite", "litert")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing(model, tmp_path, monkeypatch):
    def interrupt(path):
        assert path.exists()
        raise KeyboardInterrupt

    row = formats.FORMATS["savedmodel"]._replace(load=interrupt)
    monkeypatch.setitem(formats.FORMATS, "savedmodel", row)
    with pytest.raises(KeyboardInterrupt):
        converters.export(model, tmp_path / "model", "savedmodel")
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_without_force(model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"mine")
    with pytest.raises(converters.ConversionError, match="exists; use --force"):
        converters.export(model, path, "litert")
    assert path.read_bytes() == b"mine"
    result = converters.export(model, path, "litert", force=True)
    assert path.stat().st_size == result.size > 4
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_only_saved_models_are_replaced_among_folders(model, tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    for choices in ({}, {"force": True}):
        with pytest.raises(converters.ConversionError, match="exists"):
            converters.export(model, path, "savedmodel", **choices)
    assert (path / "thesis.txt").read_text() == "mine"

    (path / "thesis.txt").unlink()
    path.rmdir()
    converters.export(model, path, "savedmodel")
    (path / "old").write_text("of the first export")
    with pytest.raises(converters.ConversionError, match="exists; use --force"):
        converters.export(model, path, "savedmodel")
    converters.export(model, path, "savedmodel", force=True)
    assert (path / "saved_model.pb").is_file() and not (path / "old").exists()
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("count", [1, 2, 33, 34, 70])
def test_all_images_are_compared(count, model, tmp_path, monkeypatch):
    seen = []

    def load(path):
        run = formats.load_saved_model(path)
        return lambda images: seen.append(len(images)) or run(images)

    row = formats.FORMATS["savedmodel"]._replace(load=load)
    monkeypatch.setitem(formats.FORMATS, "savedmodel", row)
    result = converters.export(model, tmp_path / "model", "savedmodel", images=made_up_images(32, 32, batch=count))
    assert result.images == count == sum(seen)
    assert seen[0] == 1 and max(seen) <= 32
