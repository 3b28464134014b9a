"""The examples run as a user runs them, only shorter."""

import re

import keras
import numpy as np
import tensorflow as tf
from click.testing import CliRunner

from converters.cli import main as mobilenets
from examples.demo import demo
from examples.fine_tune import main as fine_tune
from examples.shapes import CLASSES, make_shapes
from tests.oracle.files import write_checkpoint


def test_fine_tuning_learns_and_is_reloaded(tmp_path):
    result = CliRunner().invoke(fine_tune, ["--output", str(tmp_path), "--epochs", "6"])
    assert result.exit_code == 0, result.output
    accuracy = float(re.search(r"Test accuracy ([\d.]+)%", result.output)[1])
    assert accuracy > 2 * 100 / len(CLASSES)
    assert "gives the same predictions" in result.output
    assert (tmp_path / "fine_tuning.png").read_bytes().startswith(b"\x89PNG")
    images, labels = make_shapes(250, 64, seed=1)
    model = keras.saving.load_model(tmp_path / "shapes.keras")
    found = model.predict(images, verbose=0).argmax(1)
    assert round(100 * np.mean(found == labels), 1) == accuracy


def test_fine_tuning_on_a_folder_for_each_class(tmp_path):
    """The saved model and its labels work with the commands."""
    images, labels = make_shapes(100, 96, seed=0)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "mine" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "mine" / CLASSES[label] / f"{number}.png"
        path.write_bytes(tf.io.encode_png((255 * image).astype(np.uint8)).numpy())
    arguments = ["--data", str(tmp_path / "mine"), "--output", str(tmp_path / "out"), "--epochs", "1"]
    result = CliRunner().invoke(fine_tune, arguments)
    assert result.exit_code == 0, result.output
    assert "gives the same predictions" in result.output
    assert (tmp_path / "out" / "mine.txt").read_text().split("\n") == [*sorted(set(CLASSES)), ""]
    commands = ["evaluate", str(tmp_path / "out" / "mine.keras"), str(tmp_path / "mine")]
    result = CliRunner().invoke(mobilenets, [*commands, "--labels", str(tmp_path / "out" / "mine.txt")])
    assert result.exit_code == 0, result.output


def test_fine_tuning_on_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(fine_tune, ["--data", str(tmp_path / "empty"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and not (tmp_path / "out").exists()


def test_demo_with_a_checkpoint_of_the_users(tmp_path, monkeypatch):
    """V1 format, another family, and a size that the file's name says."""
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "mobilenet_v1_0.25_128.ckpt", "mobilenet_v1", 0.25, version=1)
    result = CliRunner().invoke(demo, ["mobilenet_v1_0.25_128.ckpt"])
    assert result.exit_code == 0, result.output
    # Weights, and slim's graph in float32 and in float64, whose verdicts are first and last.
    assert result.output.count("PASSED") == 5 and "2x64x64x8" in result.output
    assert (tmp_path / "demo-output" / "mobilenet_v1_0.25_128.keras").is_file()


def test_demo_tells_what_it_cannot_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    result = CliRunner().invoke(demo, ["text.ckpt"])
    assert result.exit_code == 2
    assert "text.ckpt" in result.output and "Traceback" not in result.output
