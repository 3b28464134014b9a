"""Files are written whole or not at all, and this package and others read them back bit for bit."""

import errno
import os
import subprocess
import sys

import h5py
import hypothesis.extra.numpy as arrays
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoints
from checkpoints import sstable

V1 = "bool int8 int16 int32 int64 uint8 float32 float64".split()  # noqa: SIM905
SAFETENSORS = [*V1, *"uint16 uint32 uint64 float16".split()]  # noqa: SIM905
HDF5 = [*SAFETENSORS, "complex64", "complex128"]
V2 = [*HDF5, "bfloat16"]
WRITERS = {
    "v1": (V1, lambda variables, path: checkpoints.save_checkpoint(variables, path, version=1)),
    "v2": (V2, lambda variables, path: checkpoints.save_checkpoint(variables, path, version=2)),
    "v2 by default": (V2, checkpoints.save_checkpoint),
    "hdf5": (HDF5, checkpoints.save_hdf5),
    "safetensors": (SAFETENSORS, checkpoints.save_safetensors),
}
CASES = [(writer, dtype) for writer, (dtypes, _) in WRITERS.items() for dtype in dtypes]


def read_by_tensorflow(path):
    reader = tf.train.load_checkpoint(str(path))
    return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}


def read_by_h5py(path):
    loaded = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: loaded.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: np.asarray(value) for name, value in loaded.items()}


OTHER_READERS = {"hdf5": read_by_h5py, "safetensors": safetensors.numpy.load_file}


def assert_identical(loaded, expected):
    assert set(loaded) == set(expected)
    for name, array in expected.items():
        array = np.asarray(array)
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape), name
        assert loaded[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize(("writer", "dtype"), CASES)
def test_any_bits_of_any_shape_survive(tmp_path_factory, writer, dtype):
    folder = tmp_path_factory.mktemp("any")
    number = np.dtype(getattr(ml_dtypes, dtype, dtype))

    # Each read of an HDF5 file starts a process.
    @settings(max_examples=5 if writer == "hdf5" else 15, deadline=None)
    @given(st.data())
    def check(data):
        shapes = st.one_of(st.just(()), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
        variables = {}
        for name in ("a/weights", "a/BatchNorm/gamma", "b"):
            shape = data.draw(shapes)
            size = number.itemsize * int(np.prod(shape, dtype=int))
            # Arbitrary bytes are arbitrary floats: every NaN, subnormals, infinities, both zeros.
            bits = data.draw(st.binary(min_size=size, max_size=size))
            array = np.frombuffer(bits, np.uint8) & 1 if dtype == "bool" else np.frombuffer(bits, np.uint8)
            variables[name] = array.view(number).reshape(shape)
        path = folder / "x"
        WRITERS[writer][1](variables, path)
        assert_identical(checkpoints.load_variables(path), variables)
        assert_identical(OTHER_READERS.get(writer, read_by_tensorflow)(path), variables)

    check()


@pytest.mark.parametrize("writer", WRITERS)
def test_layouts_and_scalars(tmp_path, writer):
    variables = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(12, dtype=np.float32)[::3],
        "big endian": np.arange(3, dtype=">f4"),
        "python integer": 7,
        "ünïcode/name with spaces": np.float64(1.5),
    }
    WRITERS[writer][1](variables, tmp_path / "x")
    loaded = checkpoints.load_variables(tmp_path / "x")
    for name, value in variables.items():
        np.testing.assert_array_equal(loaded[name], value, strict=name not in ("big endian",))
    assert loaded["big endian"].dtype == np.float32 and loaded["big endian"].dtype.isnative


@pytest.mark.parametrize("version", [1, 2])
def test_writing_in_graph_mode_and_to_a_folder_with_special_characters(tmp_path, version):
    folder = tmp_path / "odd [1]*?"
    folder.mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session():
        checkpoints.save_checkpoint({"a": np.float32([1])}, folder / "x", version)
        assert checkpoints.load_variables(folder / "x") == {"a": [1]}


@pytest.mark.parametrize("writer", WRITERS)
def test_an_open_file_can_be_written_to_another_format(tmp_path, writer):
    checkpoints.save_checkpoint({"a": np.float32([1]), "b/c": np.int64(2)}, tmp_path / "source")
    with checkpoints.open_variables(tmp_path / "source") as variables:
        WRITERS[writer][1](variables, tmp_path / "x")
    assert_identical(checkpoints.load_variables(tmp_path / "x"), checkpoints.load_variables(tmp_path / "source"))


@pytest.mark.parametrize("writer", WRITERS)
def test_existing_files_are_replaced_and_no_other_files_remain(tmp_path, writer):
    for value in (1.0, 2.0):
        WRITERS[writer][1]({"a": np.float32([value])}, tmp_path / "x")
    assert checkpoints.load_variables(tmp_path / "x") == {"a": [2]}
    names = ["x.data-00000-of-00001", "x.index"] if "v2" in writer else ["x"]
    assert sorted(os.listdir(tmp_path)) == names


BAD = [
    ({}, "at least one variable"),
    ({"": np.float32(1)}, "the name ''"),
    ({"a\0b": np.float32(1)}, "the name 'a"),
    ({"\ud800": np.float32(1)}, "the name "),
    ({1: np.float32(1)}, "the name 1"),
    ({"a": np.array(["text"])}, "cannot store a, whose dtype is <U4"),
    ({"a": np.array([None])}, "cannot store a, whose dtype is object"),
    ({"a": np.datetime64("2018-01-01")}, "cannot store a, whose dtype is datetime64"),
]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("variables", "message"), BAD, ids=[message for _, message in BAD])
def test_variables_that_no_format_stores(tmp_path, writer, variables, message):
    with pytest.raises(checkpoints.CheckpointError, match=message):
        WRITERS[writer][1](variables, tmp_path / "x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("writer", "dtype"), [(w, d) for w in WRITERS for d in V2 if d not in WRITERS[w][0]])
def test_dtypes_that_a_format_does_not_store(tmp_path, writer, dtype):
    with pytest.raises(checkpoints.CheckpointError, match=f"cannot store a, whose dtype is {dtype}"):
        WRITERS[writer][1]({"a": np.zeros(2, getattr(ml_dtypes, dtype, dtype))}, tmp_path / "x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["/a", "a/", "a//b", "./a", "a/./b"])
def test_names_that_hdf5_would_change(tmp_path, name):
    with pytest.raises(checkpoints.CheckpointError, match="cannot store a variable with the name"):
        checkpoints.save_hdf5({name: np.float32(1)}, tmp_path / "x")
    checkpoints.save_checkpoint({name: np.float32(1)}, tmp_path / "x")
    assert list(checkpoints.load_variables(tmp_path / "x")) == [name]


def test_the_name_that_safetensors_keeps_for_its_metadata(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="cannot store a variable with the name '__metadata__'"):
        checkpoints.save_safetensors({"__metadata__": np.float32(1)}, tmp_path / "x")
    assert not os.listdir(tmp_path)


def test_a_name_that_is_a_group_of_another(tmp_path):
    variables = {"a": np.float32(1), "a/b/c": np.float32(2)}
    with pytest.raises(checkpoints.CheckpointError, match="cannot store both a and a/b/c"):
        checkpoints.save_hdf5(variables, tmp_path / "x")
    checkpoints.save_checkpoint(variables, tmp_path / "x")
    assert checkpoints.load_variables(tmp_path / "x") == variables


@pytest.mark.parametrize("version", [0, 3, "2"])
def test_unknown_version(tmp_path, version):
    with pytest.raises(checkpoints.CheckpointError, match="format version 1 or 2"):
        checkpoints.save_checkpoint({"a": np.float32(1)}, tmp_path / "x", version)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_one_path_never_names_checkpoints_of_both_formats(tmp_path, first, second):
    checkpoints.save_checkpoint({"a": np.float32(1)}, tmp_path / "x", first)
    with pytest.raises(checkpoints.CheckpointError, match="exists, a checkpoint in the other format"):
        checkpoints.save_checkpoint({"a": np.float32(2)}, tmp_path / "x", second)
    assert checkpoints.load_variables(tmp_path / "x") == {"a": 1}


@pytest.mark.parametrize("writer", WRITERS)
def test_folders_that_cannot_be_written(tmp_path, writer, monkeypatch):
    with pytest.raises(checkpoints.CheckpointNotFound, match=r"folder .*missing does not exist"):
        WRITERS[writer][1]({"a": np.float32(1)}, tmp_path / "missing" / "x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(checkpoints.CheckpointError, match="not writable"):
        WRITERS[writer][1]({"a": np.float32(1)}, tmp_path / "x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_failure_while_writing_leaves_the_old_files_unchanged(tmp_path, writer, monkeypatch):
    write = WRITERS[writer][1]
    write({"a": np.float32(1)}, tmp_path / "x")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(h5py.File, "create_dataset", interrupted)
    monkeypatch.setattr(sstable, "write", interrupted)
    monkeypatch.setattr(safetensors.numpy, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write({"a": np.float32(2)}, tmp_path / "x")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("version", [1, 2])
def test_an_error_of_the_system_becomes_one_sentence(tmp_path, monkeypatch, version):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sstable, "write", no_space)
    with pytest.raises(checkpoints.CheckpointError, match=r"x.* was not written: No space left on device\.$"):
        checkpoints.save_checkpoint({"a": np.float32(1)}, tmp_path / "x", version)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["model.keras", "x.weights.h5", "no suffix"])
def test_replacing(tmp_path, name):
    path = tmp_path / name
    for text in ("one", "two"):
        with checkpoints.replacing(path) as temporary:
            assert temporary.parent == path.parent and temporary != path
            assert not temporary.exists() and temporary.name.endswith(path.name)
            temporary.write_text(text)
        assert path.read_text() == text and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_replacing_after_an_exception(tmp_path, error, kind):
    (tmp_path / "x.keras").write_text("before")
    with pytest.raises(error), checkpoints.replacing(tmp_path / "x.keras") as temporary:
        if kind == "file":
            temporary.write_text("half")
        if kind == "folder":
            temporary.mkdir()
            (temporary / "member").write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["x.keras"] and (tmp_path / "x.keras").read_text() == "before"


def test_replacing_creates_a_folder(tmp_path):
    with checkpoints.replacing(tmp_path / "module") as temporary:
        temporary.mkdir()
        (temporary / "member").write_text("whole")
    assert (tmp_path / "module" / "member").read_text() == "whole" and os.listdir(tmp_path) == ["module"]
    with (
        pytest.raises(checkpoints.CheckpointError, match="existing folder"),
        checkpoints.replacing(tmp_path / "module"),
    ):
        pytest.fail("the block must not run")


def test_replacing_without_an_output(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="left no file"), checkpoints.replacing(tmp_path / "x"):
        pass


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 1_000_000)
    expected = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True).stdout[:64]
    assert checkpoints.sha256(tmp_path / "x") == expected
    with pytest.raises(checkpoints.CheckpointNotFound, match="does not exist"):
        checkpoints.sha256(tmp_path / "y")
    with pytest.raises(checkpoints.CheckpointError, match="cannot be read"):
        checkpoints.sha256(tmp_path)


def test_importing_the_package_imports_no_library():
    libraries = {"tensorflow", "keras", "h5py", "safetensors", "torch", "numpy"}
    code = f"import sys, checkpoints; print({libraries} & set(sys.modules) or 'light')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "light\n"
