"""The same job on Apache Beam's local engine gives the same rows."""

import importlib.util
import json

import numpy as np
import pytest

from converters.images.embedding import embed
from converters.images.files import ImagePaths
from converters.images.models import open_image_model
from tests.embedding_job import SIZES, write_images, write_model

# Beam brings other versions of packages that TensorFlow shares; install the extra `beam` to run these.
pytestmark = [
    pytest.mark.long,
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
