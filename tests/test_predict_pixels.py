"""The pipeline for many images against `mobilenets.preprocess`, image by image."""

import numpy as np
import pytest

import mobilenets
from converters.images import pipeline
from converters.images.photographs import decode
from converters.images.pipeline import Broken, image_batches
from tests.embedding_job import write_images


def put_together(batches):
    batches = list(batches)
    entries = [entry for batch in batches for entry in batch.entries]
    return entries, np.concatenate([batch.images for batch in batches])


@pytest.mark.parametrize("size", [64, 128, 224])
def test_photographs(shared, size):
    paths = [str(path) for path in sorted((shared / "images").rglob("*")) if path.suffix not in (".txt", "")]
    assert len(paths) >= 19
    entries, images = put_together(image_batches(paths, size, batch_size=5))
    assert entries == paths
    expected = np.stack([mobilenets.preprocess(decode(path), size) for path in paths])
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)


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
        np.testing.assert_allclose(image, mobilenets.preprocess(decode(path), 32), rtol=0, atol=1e-6)


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


def test_the_autotuner_whose_sleeps_delay_the_end_is_off(tmp_path, monkeypatch):
    tf = pipeline.tf
    seen = []
    iterate = tf.data.Dataset.as_numpy_iterator
    monkeypatch.setattr(
        tf.data.Dataset, "as_numpy_iterator", lambda self: seen.append(self.options().autotune.enabled) or iterate(self)
    )
    put_together(image_batches(map(str, write_images(tmp_path, 3)), 32))
    assert seen == [False]
    trained = pipeline.without_autotuner(tf.data.Dataset.range(3).batch(2))
    assert trained.options().autotune.enabled is False and [len(batch) for batch in trained] == [2, 1]
