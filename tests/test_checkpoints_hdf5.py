"""HDF5 files of other programs, damaged ones and hostile ones; `test_checkpoints_writing.py` tests writing."""

import subprocess

import h5py
import keras
import numpy as np
import pytest

import checkpoints
from checkpoints import hdf5, hdf5_process
from tests import forked_hdf5
from tests.in_this_process import running

VARIABLES = {f"net/layer_{i}/weights": np.arange(12, dtype=np.float32).reshape(3, 4) * i for i in range(9)}


@pytest.fixture(autouse=True)
def _read_here(monkeypatch):
    """Reads in this process, as whole files cannot crash it; the tests of damage start processes."""
    monkeypatch.setattr(hdf5_process.subprocess, "run", running(hdf5.copy_values))


@pytest.fixture
def path(tmp_path):
    checkpoints.save_hdf5(VARIABLES, tmp_path / "x.h5")
    return tmp_path / "x.h5"


def change(path, function):
    with h5py.File(path, "r+") as file:
        function(file)


def refused(path, message):
    with pytest.raises(checkpoints.CheckpointError, match=message) as info:
        checkpoints.load_variables(path)
    assert str(path) in str(info.value) and "\n" not in str(info.value)


def test_attributes_of_a_written_file(path):
    with checkpoints.open_variables(path) as variables:
        assert variables.format == "hdf5" and variables.files == (path,) and variables.path is path
        assert variables.shapes == dict.fromkeys(VARIABLES, (3, 4))
        assert variables.dtypes == dict.fromkeys(VARIABLES, np.float32)
        assert list(variables) == sorted(VARIABLES)
    with h5py.File(path) as file:
        assert file.attrs["format"] == "slim variables" and file.attrs["version"] == 1
        for name, array in VARIABLES.items():
            assert file[name].attrs["masked_crc32c"] == checkpoints.masked_crc32c(array)


def test_the_same_variables_make_the_same_bytes(path, tmp_path):
    checkpoints.save_hdf5(dict(reversed(VARIABLES.items())), tmp_path / "y.h5")
    assert path.read_bytes() == (tmp_path / "y.h5").read_bytes()


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"}]
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i8", "?", "<c8"])
def test_files_of_other_programs(tmp_path, options, dtype):
    array = np.arange(300).reshape(20, 15).astype(dtype)
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a/b", data=array, **options)
        file["a/text"] = "text is left out"
        file["a/texts"] = [b"fixed", b"width"]
        file["null"] = h5py.Empty("f4")
    loaded = checkpoints.load_variables(tmp_path / "x")
    assert list(loaded) == ["a/b"]
    np.testing.assert_array_equal(loaded["a/b"], array)
    assert loaded["a/b"].dtype.isnative and loaded["a/b"].dtype == array.dtype.newbyteorder("=")


def test_only_the_accessed_variable_is_read(path):
    data = path.read_bytes()
    marker = VARIABLES["net/layer_5/weights"].tobytes()
    assert data.count(marker) == 1
    path.write_bytes(data.replace(marker, marker[:-1] + b"\xff"))
    with checkpoints.open_variables(path) as variables:
        for name in set(VARIABLES) - {"net/layer_5/weights"}:
            np.testing.assert_array_equal(variables[name], VARIABLES[name])
        with pytest.raises(checkpoints.CheckpointError, match=r"net/layer_5/weights in .*checksum does not match"):
            variables["net/layer_5/weights"]


CHANGES = {
    "renamed": lambda file: file.move("net/layer_1", "net/layer_10"),
    "removed": lambda file: file.pop("net/layer_1"),
    "added": lambda file: file.create_dataset("b", data=np.float32(1)),
    "checksum": lambda file: file["net/layer_1/weights"].attrs.modify("masked_crc32c", np.uint32(1)),
    "contents": lambda file: file.attrs.modify("contents", np.uint32(1)),
    "no contents": lambda file: file.attrs.pop("contents"),
    "no version": lambda file: file.attrs.pop("version"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_by_other_programs_are_detected(path, kind):
    change(path, CHANGES[kind])
    refused(path, "is damaged")


def test_a_later_version_is_refused(path):
    change(path, lambda file: file.attrs.modify("version", 2))
    refused(path, "has version 2 of its format, but only 1 is supported")


@pytest.mark.parametrize(("step", "run"), [(599, subprocess.run), (23, forked_hdf5.run)], ids=["started", "forked"])
def test_damage_is_detected_at_every_position(path, step, run, monkeypatch):
    """In steps, as each read needs a process."""
    monkeypatch.setattr(hdf5_process.subprocess, "run", run)
    whole = path.read_bytes()
    for i in range(0, len(whole), step):
        for content in (whole[:i], whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :]):
            path.write_bytes(content)
            try:
                loaded = checkpoints.load_variables(path)
            except checkpoints.CheckpointError as error:
                assert str(path) in str(error)
            else:
                assert list(loaded) == sorted(VARIABLES)
                for name, array in VARIABLES.items():
                    np.testing.assert_array_equal(loaded[name], array, strict=True)


@pytest.mark.parametrize("options", [{}, {"chunks": (1024, 1024)}, {"chunks": (1024, 1024), "compression": "gzip"}])
def test_a_huge_shape_without_values_is_refused(tmp_path, options):
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a", shape=(2**20, 2**20), dtype="f4", **options)
    refused(tmp_path / "x", "a claims 4398046511104 bytes but stores 0")


def test_one_chunk_of_a_huge_shape_is_refused(tmp_path):
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a", shape=(2**20, 2**20), dtype="f4", chunks=(64, 64), compression="gzip")[0, 0] = 1
    refused(tmp_path / "x", "a claims 4398046511104 bytes")


def test_compressed_zeros_are_not_taken_for_a_bomb(tmp_path):
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a", data=np.zeros((1000, 1000), np.float32), compression="gzip", compression_opts=9)
    assert not checkpoints.load_variables(tmp_path / "x")["a"].any()


def test_links_are_refused(tmp_path, path):
    for name, link, message in [
        ("soft", h5py.SoftLink("/net"), "net/soft is a link"),
        ("external", h5py.ExternalLink(str(path), "/net"), "net/external is a link"),
        ("dangling", h5py.SoftLink("/nothing"), "net/dangling is a link"),
    ]:
        with h5py.File(tmp_path / "y", "w") as file:
            file["net/" + name] = link
        refused(tmp_path / "y", message)


@pytest.mark.parametrize("target", ["/", "net", "net/layer_1", "net/layer_1/weights"])
def test_a_second_name_is_refused(path, target):
    """A group that contains itself would make the file endless."""
    change(path, lambda file: file["net"].__setitem__("again", file[target]))
    refused(path, "is a second name of another object")


def test_values_in_another_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(400))
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a", shape=(100,), dtype="f4", external=[(str(tmp_path / "secret"), 0, 400)])
    refused(tmp_path / "x", "values of a are in another file")


def test_a_virtual_dataset_is_refused(tmp_path, path):
    layout = h5py.VirtualLayout(shape=(3, 4), dtype="f4")
    layout[:] = h5py.VirtualSource(str(path), "net/layer_1/weights", shape=(3, 4))
    with h5py.File(tmp_path / "y", "w") as file:
        file.create_virtual_dataset("a", layout)
    refused(tmp_path / "y", "values of a are in another file")


@pytest.mark.parametrize("options", [{"scaleoffset": 2}, {"compression": "szip"}])
def test_other_filters_are_refused(tmp_path, options):
    if options == {"compression": "szip"} and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 library has no szip")
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("a", data=np.ones((100, 8), np.float32), **options)
    refused(tmp_path / "x", "a uses an unsupported filter")


@pytest.mark.parametrize("dtype", [np.dtype("V4"), np.dtype([("a", "f4"), ("b", "i4")])])
def test_other_dtypes_are_refused(tmp_path, dtype):
    with h5py.File(tmp_path / "x", "w") as file:
        file["a"] = np.zeros(3, dtype)
    refused(tmp_path / "x", r"a has the dtype (\|V4|\[)")


def test_a_file_without_variables_is_refused(tmp_path):
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_group("a")
    refused(tmp_path / "x", "holds no variables")


@pytest.mark.parametrize("name", ["x.weights.h5", "renamed.h5"])
def test_keras_weights_without_names_are_refused(tmp_path, name):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    model.save_weights(tmp_path / "x.weights.h5")
    (tmp_path / "x.weights.h5").rename(tmp_path / name)
    refused(tmp_path / name, "Keras .weights.h5, which numbers its weights by layer type")


def test_a_file_is_recognised_by_its_signature(path):
    assert hdf5.is_hdf5(path) and not hdf5.is_hdf5(path.parent)
    assert len(checkpoints.load_variables(path.rename(path.with_name("x.ckpt")))) == len(VARIABLES)
