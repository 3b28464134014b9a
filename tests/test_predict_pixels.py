"""The pipeline for many images against `mobilenets.preprocess`, image by image."""

import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import mobilenets
from benchmarks import processes
from converters.images import pipeline
from converters.images.photographs import decode
from converters.images.pipeline import image_batches
from converters.images.reasons import Broken
from examples.datasets import without_autotuner
from tests.embedding_job import write_images


def put_together(batches):
    batches = list(batches)
    entries = [entry for batch in batches for entry in batch.entries]
    return entries, np.concatenate([batch.images for batch in batches])


def by_slim(path, size):
    """The operations of slim's evaluation: ``inception_preprocessing.py: preprocess_for_eval``."""
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    image = tf.image.central_crop(tf.image.convert_image_dtype(image, tf.float32), 0.875)
    return tf.compat.v1.image.resize_bilinear(image[None], (size, size), align_corners=False)[0].numpy()


@pytest.mark.parametrize("size", [64, 128, 224])
def test_photographs(shared, size):
    paths = [str(path) for path in sorted((shared / "images").rglob("*")) if path.suffix not in (".txt", "")]
    assert len(paths) >= 19
    entries, images = put_together(image_batches(paths, size, batch_size=5))
    assert entries == paths
    np.testing.assert_allclose(images, [by_slim(path, size) for path in paths], rtol=0, atol=1e-6)


@pytest.mark.parametrize("broken", [(), (0,), (6,), (2, 3, 4), (0, 1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize("chunk", [3, 100])
def test_broken_images_keep_their_place(tmp_path, monkeypatch, broken, chunk):
    monkeypatch.setattr(pipeline, "CHUNK", chunk)
    paths = [str(path) for path in write_images(tmp_path, 7, broken)]
    entries, images = put_together(image_batches(paths, 32, batch_size=2))
    assert [entry.path if isinstance(entry, Broken) else entry for entry in entries] == paths
    assert [number for number, entry in enumerate(entries) if isinstance(entry, Broken)] == list(broken)
    good = [path for number, path in enumerate(paths) if number not in broken]
    assert len(images) == len(good)
    for image, path in zip(images, good, strict=True):
        np.testing.assert_allclose(image, by_slim(path, 32), rtol=0, atol=1e-6)


def test_reasons_of_broken_images(tmp_path):
    (path,) = write_images(tmp_path, 1)
    cut = tmp_path / "cut.png"
    cut.write_bytes(path.read_bytes()[:200])
    paths = [str(cut), str(tmp_path / "absent.png"), str(tmp_path)]
    (batch,) = image_batches(paths, 32)
    assert batch.paths == () and batch.images.shape == (0, 32, 32, 3)
    reasons = [entry.reason for entry in batch.broken]
    assert "is not an image" in reasons[0]
    assert "No such file" in reasons[1]
    assert all(path in reason for path, reason in zip(paths, reasons, strict=True))


def test_no_images():
    assert list(image_batches([], 32)) == []


def test_paths_are_read_lazily(tmp_path, monkeypatch):
    """The first batch does not need the whole list."""
    monkeypatch.setattr(pipeline, "CHUNK", 4)
    (path,) = write_images(tmp_path, 1)
    drawn = []

    def endless():
        while True:
            drawn.append(path)
            yield str(path)

    next(iter(image_batches(endless(), 32, batch_size=2)))
    assert len(drawn) == 4


def test_the_autotuner_whose_sleeps_delay_the_end_is_off():
    dataset = without_autotuner(tf.data.Dataset.range(3).batch(2))
    assert dataset.options().autotune.enabled is False and [len(batch) for batch in dataset] == [2, 1]


def test_large_images_are_read_a_few_at_once(tmp_path, monkeypatch):
    """Together they have at most `MAX_PIXELS`; refused ones do not count, and the order stays."""
    monkeypatch.setattr(pipeline.os, "cpu_count", lambda: 8)
    paths = [str(path) for path in write_images(tmp_path, 9, broken=(1,))]  # 2000, 2050, ... 2400 pixels
    monkeypatch.setattr(pipeline, "MAX_PIXELS", 8 * 2200)
    runs = list(pipeline._runs(paths))
    assert [(len(names), parallel) for names, _, parallel in runs] == [(5, 8), (4, 7)]
    monkeypatch.setattr(pipeline, "MAX_PIXELS", 4450)
    assert [(len(names), parallel) for names, _, parallel in pipeline._runs(paths)] == [(1, 2), (1, 8), (7, 1)]
    monkeypatch.setattr(pipeline, "MAX_PIXELS", 2200)
    assert [(len(names), parallel) for names, _, parallel in pipeline._runs(paths)] == [(1, 1), (1, 8), (3, 1), (4, 8)]
    entries, images = put_together(image_batches(paths, 32, batch_size=2))
    assert [entry.path if isinstance(entry, Broken) else entry for entry in entries] == paths and len(images) == 8
    for image, path in zip(images, [paths[0], *paths[2:]], strict=True):
        np.testing.assert_allclose(image, mobilenets.preprocess(decode(path), 32), rtol=0, atol=1e-6)


def test_the_memory_of_large_images(tmp_path):
    """Two images of 144 million pixels, one after the other: 6 bytes per pixel at most, and TensorFlow itself."""
    PIL.Image.new("L", (12000, 12000), 200).save(tmp_path / "a.png", compress_level=1)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    read = (
        "import sys, tensorflow; from converters.images.pipeline import image_batches; "
        "print(list(image_batches(sys.argv[1:], 96)))"
    )
    none, both = (
        processes.run([sys.executable, "-c", read, *paths]).peak_bytes
        for paths in ([], [str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    )
    assert both - none < 6 * 144e6 + 2e8
