"""The same job on Apache Beam's local engine gives the same rows."""

import importlib.util
import json

import numpy as np
import pytest

from converters.images.embedding import embed
from converters.images.image_paths import ImagePaths
from converters.images.models import open_image_model
from tests.embedding_job import SIZES, write_images, write_model

# Beam brings other versions of packages that TensorFlow shares; install the extra `beam` to run these.
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="the extra `beam` is not installed"),
]


def rows(path):
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return dict(zip(table["path"].to_pylist(), table["features"].to_pylist(), strict=True))


@pytest.mark.parametrize("as_list", [False, True])
def test_the_same_rows(tmp_path, as_list):
    from converters.images.embed_beam import embed_with_beam

    file = write_model(tmp_path / "model.keras", num_classes=7)
    write_images(tmp_path / "images", 11, broken=(1, 4, 5))
    images = ImagePaths([tmp_path / "images"])
    images = list(images) if as_list else images
    expected = embed(open_image_model(file), images, tmp_path / "here.parquet", **SIZES)
    embed_with_beam(file, images, tmp_path / "there", **SIZES)

    found = {}
    for path in tmp_path.glob("there-?????-of-?????.parquet"):
        found |= rows(path)
    here = rows(tmp_path / "here.parquet")
    assert found.keys() == here.keys() and len(found) == 8
    assert all(np.array_equal(found[path], here[path]) for path in here)
    lines = [line for path in tmp_path.glob("there-broken-*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(json.loads(line)["path"] for line in lines) == [entry.path for entry in expected.broken]
    assert {json.loads(line)["reason"] for line in lines} == {entry.reason for entry in expected.broken}


def test_urls_and_a_runtime(tmp_path, monkeypatch):
    """A model and images of an object store: here a file system of the test's own."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.localfilesystem import LocalFileSystem

    from converters.images.embed_beam import embed_with_beam

    class Store(LocalFileSystem):
        @classmethod
        def scheme(cls):
            return "teststore"

        def open(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
            return super().open(str(tmp_path / path.removeprefix("teststore://")), mime_type, compression_type)

    file = write_model(tmp_path / "model.keras", num_classes=7)
    paths = [str(path) for path in write_images(tmp_path / "images", 5, broken=(1,))]
    urls = [f"teststore://images/{number:03d}.png" for number in range(4)] + ["teststore://images/absent.png", paths[4]]
    embed_with_beam("teststore://model.keras", urls, tmp_path / "there", runtime="tensorflow", threads=1)
    found = {}
    for path in tmp_path.glob("there-?????-of-?????.parquet"):
        found |= rows(path)
    assert sorted(found) == sorted([urls[0], *urls[2:4], paths[4]])
    embed(open_image_model(file, runtime="tensorflow"), paths, tmp_path / "here.parquet")
    here = rows(tmp_path / "here.parquet")
    for number, name in ((0, urls[0]), (2, urls[2]), (4, paths[4])):
        np.testing.assert_allclose(found[name], here[paths[number]], rtol=0, atol=1e-5)
    lines = [line for path in tmp_path.glob("there-broken-*.jsonl") for line in path.read_text().splitlines()]
    reasons = {entry["path"]: entry["reason"] for entry in map(json.loads, lines)}
    assert reasons.keys() == {urls[1], urls[4]}
    assert reasons[urls[1]].startswith(f"{urls[1]} is not an image") and "absent.png cannot be read" in reasons[urls[4]]
    with pytest.raises(OSError, match=r"teststore://absent.keras cannot be read"):
        embed_with_beam("teststore://absent.keras", urls, tmp_path / "no")


def test_the_program(tmp_path):
    from converters.images.embed_job import main

    file = write_model(tmp_path / "model.keras", num_classes=7)
    write_images(tmp_path / "images", 2)
    main([str(file), str(tmp_path / "images"), "--output", str(tmp_path / "out"), "--runtime", "keras"])
    (path,) = tmp_path.glob("out-*.parquet")
    assert len(rows(path)) == 2
    with pytest.raises(SystemExit):
        main([str(file), "--output", str(tmp_path / "out")])
