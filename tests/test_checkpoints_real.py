"""The released weights are the same, bit for bit, in every format."""

import csv
import tarfile

import numpy as np
import pytest

import checkpoints

SIZES = [128, 224]
V2 = "mobilenet_v2_1.0_224_raw_backbone.ckpt"


def assert_identical(loaded, expected):
    assert list(loaded) == list(expected)
    for name in expected:
        assert (loaded[name].dtype, loaded[name].shape) == (expected[name].dtype, expected[name].shape)
        assert loaded[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("size", SIZES)
def test_frozen_graph_and_checkpoint_are_the_same(shared, size):
    folder = shared / "real" / f"mobilenet_v1_0.25_{size}"
    with checkpoints.open_variables(folder / "frozen_graph.pb") as graph, checkpoints.open_variables(folder) as slim:
        assert graph.format == "frozen graph" and slim.format == "tensorflow checkpoint v2"
        assert len(slim) == 137 and slim.shapes == graph.shapes and slim.dtypes == graph.dtypes
        assert slim.shapes["MobilenetV1/Conv2d_0/weights"] == (3, 3, 3, 8)
        assert_identical(graph, slim)


@pytest.mark.parametrize("name", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_every_name_of_the_v2_backbone(shared, name):
    variables = checkpoints.load_variables(shared / "real" / f"{V2}{name}")
    assert len(variables) == 261 and all(np.isfinite(array).all() for array in variables.values())


@pytest.mark.parametrize("form", ["v1", "v2", "hdf5", "archive"])
def test_every_format_has_the_same_values(shared, tmp_path, form):
    source = shared / "real" / V2
    expected = checkpoints.load_variables(source)
    path = tmp_path / "x"
    if form == "archive":
        with tarfile.open(path, "w:gz", compresslevel=1) as file:
            for member in ("index", "data-00000-of-00001"):
                file.add(f"{source}.{member}", f"./mobilenet.ckpt.{member}")
    elif form == "hdf5":
        checkpoints.save_hdf5(expected, path)
    else:
        checkpoints.save_checkpoint(expected, path, version=int(form[1]))
    assert_identical(checkpoints.load_variables(path), expected)


def test_moving_statistics_have_the_published_fingerprints(shared):
    """The hub module has averaged trainable variables, but the plain moving statistics of this checkpoint."""
    with open(shared / "fingerprints" / "mobilenet_v2_100_224_feature_vector.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    published = {row["variable_name"]: int(row["masked_crc32c_of_raw_le_bytes"], 16) for row in rows}
    with checkpoints.open_variables(shared / "real" / V2) as variables:
        moving = [name for name in variables if name.rpartition("/")[2].startswith("moving_")]
        assert len(moving) == 104
        loaded = {name: checkpoints.masked_crc32c(variables[name]) for name in moving}
    assert loaded == {name: published[name] for name in moving}
