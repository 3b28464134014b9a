"""A second `predict` or `embed` of a model needs neither TensorFlow nor Keras, and gives the same numbers."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from click.testing import CliRunner

from converters.cli import main
from converters.images import exact_pixels, kept_classifier
from converters.images.headers import read_header
from converters.images.kept_network import record_file
from converters.images.pipeline import image_batches
from tests.embedding_job import write_images, write_model

PIXELS = np.random.default_rng(0).integers(256, size=(33, 47, 4), dtype=np.uint8)
ROOT = pathlib.Path(__file__).resolve().parents[1]
needs_litert = pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")


def by_tensorflow(path):
    return tf.io.decode_image(tf.io.read_file(str(path)), channels=3, expand_animations=False).numpy()


def predict(*arguments):
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--json"])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_files_are_those_of_tensorflow(tmp_path, mode):
    path = str(tmp_path / "a.png")
    if mode == "I;16":
        image = PIL.Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 251)
    else:
        image = PIL.Image.fromarray(PIXELS).convert("RGB" if mode in ("P", "1") else "RGBA").convert(mode)
    image.save(path)
    found = exact_pixels.exact_pixels(path, read_header(path))
    np.testing.assert_array_equal(found, by_tensorflow(path))


def test_16_bit_colours_are_those_of_tensorflow(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(tf.io.encode_png(PIXELS[..., :3].astype(np.uint16) * 251).numpy())
    found = exact_pixels.exact_pixels(str(path), read_header(str(path)))
    np.testing.assert_array_equal(found, by_tensorflow(path))


@pytest.mark.skipif(importlib.util.find_spec("simplejpeg") is None, reason="simplejpeg is not installed")
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_files_are_those_of_tensorflow(tmp_path, subsampling, progressive):
    path = str(tmp_path / "a.jpg")
    for mode in ("RGB", "L"):
        image = PIL.Image.fromarray(PIXELS[..., :3]).convert(mode)
        image.save(path, subsampling=subsampling, progressive=progressive, quality=40)
        assert exact_pixels.is_exact(path)
        np.testing.assert_array_equal(exact_pixels.exact_pixels(path, read_header(path)), by_tensorflow(path))


def test_what_is_not_certain_is_left_to_tensorflow(tmp_path):
    PIL.Image.fromarray(PIXELS[..., :3]).convert("CMYK").save(tmp_path / "cmyk.jpg")
    PIL.Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.gif")
    (good,) = map(str, write_images(tmp_path / "good", 1))
    (tmp_path / "cut.png").write_bytes(pathlib.Path(good).read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cmyk.jpg", "a.gif", "cut.png", "text.png", "absent.png"):
        assert exact_pixels.exact_images([good, str(tmp_path / name)], (32, 32), False) is None
    images, turned = exact_pixels.exact_images([good], (32, 32), False)
    ((batch),) = image_batches([good], 32)
    np.testing.assert_allclose(images, batch.images, rtol=0, atol=1e-6)
    assert turned == 0


@needs_litert
def test_the_second_run_needs_neither_tensorflow_nor_keras(tmp_path, cache):
    model = write_model(tmp_path / "model.keras", num_classes=11)
    images = write_images(tmp_path / "images", 3)
    first = predict(model, images[0])
    assert first.exit_code == 0 and "The runtime" not in first.stderr
    check = (
        "import sys; from converters.cli import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    arguments = [sys.executable, "-c", check, "predict", str(model), *map(str, images), "--json", "--top", "11"]
    second = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert second.returncode == 0, second.stderr
    assert second.stderr.startswith("Note: The runtime is litert, without TensorFlow and Keras")
    kept = json.loads(second.stdout)
    own = json.loads(predict(model, *images, "--runtime", "keras", "--top", 11).stdout)
    for one, other in zip(kept, own, strict=True):
        assert one["path"] == other["path"]
        values = [{guess["class"]: guess["probability"] for guess in answer["predictions"]} for answer in (one, other)]
        np.testing.assert_allclose([values[0][n] for n in range(11)], [values[1][n] for n in range(11)], atol=1e-5)
    # Another model under the same name, and a damaged network, are not what was kept.
    found = kept_classifier.find_classifier(str(model), None, "auto")
    assert found.num_classes == 11
    write_model(model, num_classes=12)
    assert kept_classifier.find_classifier(str(model), None, "auto") is None
    assert kept_classifier.find_classifier(str(model), (64, 64), "auto") is None
    pathlib.Path(found.file).write_bytes(b"damaged")
    assert found.answers(list(map(str, images)), 1, 32, False) is None


@needs_litert
def test_a_network_that_no_runtime_computes_is_tried_once(tmp_path, cache, monkeypatch):
    model = write_model(tmp_path / "model.keras", num_classes=11)
    (image,) = write_images(tmp_path / "images", 1)
    row = kept_classifier.RUNTIMES["litert"]

    def fails(path, threads):
        raise RuntimeError("no such kernel")

    for name in kept_classifier.RUNTIMES:
        monkeypatch.setitem(kept_classifier.RUNTIMES, name, row._replace(load=fails))
    assert predict(model, image).exit_code == 0
    assert kept_classifier.find_classifier(str(model), None, "auto") is None
    assert not kept_classifier.is_worth_keeping(str(model), None, "auto", [str(image)])
    assert kept_classifier.is_worth_keeping(str(model), None, "litert", [str(image)])


def test_a_damaged_record_counts_as_none(tmp_path, cache):
    model = tmp_path / "model.keras"
    model.write_bytes(b"any")
    record = record_file("classifiers", str(model), None, "auto")
    record.parent.mkdir(parents=True)
    for text in ("null", "{}", "[1]", "no json"):
        record.write_text(text)
        assert kept_classifier.find_classifier(str(model), None, "auto") is None
    assert kept_classifier.find_classifier(str(tmp_path / "absent.keras"), None, "auto") is None


def embed(model, folder, output, *options):
    """Runs the command in a process of its own; returns its notes and the features."""
    check = (
        "import sys; from converters.images import models; from converters.cli import main\n"
        "models.FEW_IMAGES = 1\n"  # a job of few images does not convert the network
        if "--first" in options
        else "import sys; from converters.cli import main\n"
    )
    check += "try: main()\nfinally: print(*({'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr)"
    arguments = [sys.executable, "-c", check, "embed", str(model), str(folder), "-o", str(output), "--force"]
    ended = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0, ended.stderr
    with np.load(output) as arrays:
        return ended.stderr.splitlines(), arrays["features"]


@needs_litert
def test_the_second_job_needs_neither_tensorflow_nor_keras(tmp_path, cache):
    """And gives the same bits."""
    model = write_model(tmp_path / "model.keras", head="feature_vector", input_shape=(64, 64, 3))
    images = tmp_path / "images"
    write_images(images, 6)
    PIL.Image.fromarray(PIXELS[..., :3]).save(images / "x.jpg")
    first, features = embed(model, images, tmp_path / "1.npz", "--first")
    assert set(first[-1].split()) == {"keras", "tensorflow"}
    second, again = embed(model, images, tmp_path / "2.npz")
    assert second[-1] == ""
    assert "The runtime is litert, without TensorFlow and Keras: on the first 4 images" in second[0]
    np.testing.assert_array_equal(features, again)
    # On other first images nothing was compared yet, so the exact model is needed.
    (images / "00.png").write_bytes((images / "005.png").read_bytes())
    other, _ = embed(model, images, tmp_path / "3.npz")
    assert set(other[-1].split()) == {"keras", "tensorflow"}
    # Another model under the same name is not what was kept.
    write_model(model, head="feature_vector", input_shape=(96, 96, 3))
    changed, _ = embed(model, images, tmp_path / "4.npz")
    assert set(changed[-1].split()) == {"keras", "tensorflow"}


@needs_litert
def test_a_gif_among_the_images_of_a_kept_network_is_decoded_by_tensorflow(tmp_path, cache):
    model = write_model(tmp_path / "model.keras", head="feature_vector", input_shape=(64, 64, 3))
    write_images(tmp_path / "images", 5)
    PIL.Image.fromarray(PIXELS[..., :3]).save(tmp_path / "images" / "x.gif")
    _, features = embed(model, tmp_path / "images", tmp_path / "1.npz", "--first")
    notes, again = embed(model, tmp_path / "images", tmp_path / "2.npz")
    assert "without TensorFlow and Keras" in notes[0] and "tensorflow" in notes[-1].split()
    np.testing.assert_array_equal(features, again)
