"""Checkpoints that TensorFlow wrote, opened by every path that refers to them, and damaged ones."""

import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

import checkpoints
from checkpoints import sstable

VARIABLES = {
    "MobilenetV1/Conv2d_0/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "MobilenetV1/Conv2d_0/BatchNorm/gamma": np.array([-0.0, np.nan], np.float32),
    # V1 format keeps blocks of 256 KiB, or of one variable: large ones do not share theirs with what comes after.
    "MobilenetV1/Conv2d_9/weights": np.linspace(0, 1, 70_000, dtype=np.float32),
    "MobilenetV1/Logits/weights": np.linspace(-1, 1, 100_000, dtype=np.float32).reshape(100, 1000),
    "global_step": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def write(path, version, variables=VARIABLES):
    """Writes a checkpoint with TensorFlow's operations, which also store strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names, tensors = list(variables), [tf.constant(value) for value in variables.values()]
    if version == 1:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=tensors)
    else:
        whole = [""] * len(names)
        tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=whole, tensors=tensors)
    return path


def write_shards(prefix):
    """Writes a checkpoint of three shards, as distributed training does."""
    parts = []
    for i, names in enumerate([["global_step", "empty"], ["MobilenetV1/Logits/weights"], list(VARIABLES)[:3]]):
        parts.append(write(prefix.parent / f"part{i}", 2, {name: VARIABLES[name] for name in names}))
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(prefix))
    return prefix


def assert_identical(loaded, expected):
    assert list(loaded) == sorted(expected)
    for name, array in expected.items():
        assert isinstance(loaded[name], np.ndarray)
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape), name
        assert loaded[name].tobytes() == array.tobytes(), name


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


V2_NAMES = ["x.ckpt", "x.ckpt.index", "x.ckpt.data-00000-of-00001", "x.ckpt.meta", "."]
V1_NAMES = ["x.ckpt", "x.ckpt.meta", "."]


@pytest.mark.parametrize(("version", "name"), [(2, name) for name in V2_NAMES] + [(1, name) for name in V1_NAMES])
@pytest.mark.parametrize("folder", ["plain", "with [1]*? and \\ in it", "with ümlaut"])
def test_every_path_of_a_checkpoint_is_read_the_same(tmp_path, version, name, folder):
    prefix = write(tmp_path / folder / "x.ckpt", version)
    (tmp_path / folder / "x.ckpt.meta").write_bytes(b"a graph, which is not read")
    path = tmp_path / folder / name
    assert_identical(checkpoints.load_variables(path), VARIABLES)
    assert_identical(checkpoints.load_variables(str(path)), VARIABLES)
    with checkpoints.open_variables(path) as variables:
        assert variables.path is path
        assert variables.format == f"tensorflow checkpoint v{version}"
        members = [""] if version == 1 else [".index", ".data-00000-of-00001"]
        assert [str(file) for file in variables.files] == [f"{prefix}{member}" for member in members]
        assert variables.shapes == {name: array.shape for name, array in VARIABLES.items()}
        assert variables.dtypes == {name: array.dtype for name, array in VARIABLES.items()}


@pytest.mark.parametrize("name", ["model", "x-1000", "x.index.backup", "x.pb", "x.h5"])
def test_a_v1_checkpoint_is_recognised_by_its_content(tmp_path, name):
    assert_identical(checkpoints.load_variables(write(tmp_path / name, 1)), VARIABLES)


@pytest.mark.parametrize("name", ["x", "x.index", "x.data-00001-of-00003", "."])
def test_several_shards(tmp_path, name):
    prefix = write_shards(tmp_path / "sharded" / "x")
    for file in prefix.parent.glob("part*"):
        file.unlink()
    with checkpoints.open_variables(prefix.parent / name) as variables:
        assert_identical(variables, VARIABLES)
        assert [file.name for file in variables.files] == ["x.index", *(f"x.data-0000{i}-of-00003" for i in range(3))]


def test_a_partitioned_variable_is_read_whole(tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(6, 4)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"),
        tensor_names=["a/weights", "a/weights"],
        shape_and_slices=["6 4 0,2:-", "6 4 2,4:-"],
        tensors=[tf.constant(whole[:2]), tf.constant(whole[2:])],
    )
    assert_identical(checkpoints.load_variables(tmp_path / "x"), {"a/weights": whole})


def test_both_formats_with_the_same_path(tmp_path):
    write(tmp_path / "x", 1, {"one": np.float32([1])})
    write(tmp_path / "x", 2, {"two": np.float32([2])})
    assert_identical(checkpoints.load_variables(tmp_path / "x"), {"one": np.float32([1])})
    assert_identical(checkpoints.load_variables(tmp_path / "x.index"), {"two": np.float32([2])})
    with pytest.raises(checkpoints.CheckpointError, match=r"holds 2 checkpoints.* x, x\.index"):
        checkpoints.load_variables(tmp_path)


def test_object_based_checkpoint_leaves_strings_out(tmp_path):
    prefix = tf.train.Checkpoint(a=tf.Variable([1.0, 2.0])).write(str(tmp_path / "x"))
    assert "_CHECKPOINTABLE_OBJECT_GRAPH" in tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    assert_identical(checkpoints.load_variables(prefix), {"a/.ATTRIBUTES/VARIABLE_VALUE": np.float32([1, 2])})


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("elsewhere", ["", "/the/machine/it/was/trained/on/"])
def test_state_file_names_one_of_several(tmp_path, version, elsewhere):
    for step in (1, 2):
        write(tmp_path / f"x-{step}", version, {"global_step": np.int64(step)})
    with pytest.raises(checkpoints.CheckpointError, match=r"2 checkpoints.*x-1.*x-2"):
        checkpoints.load_variables(tmp_path)
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{elsewhere}x-1"\n')
    assert checkpoints.load_variables(tmp_path) == {"global_step": 1}
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{elsewhere}x-3"\n')
    with pytest.raises(checkpoints.CheckpointNotFound, match="x-3 is missing"):
        checkpoints.load_variables(tmp_path)


def test_unreadable_state_file_is_ignored(tmp_path):
    write(tmp_path / "x", 2)
    (tmp_path / "checkpoint").write_text("not a protocol buffer")
    assert_identical(checkpoints.load_variables(tmp_path), VARIABLES)


@pytest.mark.parametrize("version", [1, 2])
def test_the_mapping(tmp_path, version):
    with checkpoints.open_variables(write(tmp_path / "x", version)) as variables:
        assert len(variables) == len(VARIABLES)
        assert "global_step" in variables and "nothing" not in variables
        with pytest.raises(KeyError, match="nothing"):
            variables["nothing"]
        mine = variables["empty"], variables["global_step"]
        mine[1][...] = 9
        assert variables["global_step"] == 7
    with pytest.raises(checkpoints.CheckpointError, match="closed"):
        variables["global_step"]


@pytest.mark.parametrize("version", [1, 2])
def test_only_the_accessed_variable_is_read(tmp_path, version):
    """One variable is damaged. Reading the others succeeds, so it does not read the damaged one."""
    path = write(tmp_path / "x", version)
    file = path if version == 1 else tmp_path / "x.data-00000-of-00001"
    marker = VARIABLES["MobilenetV1/Logits/weights"].tobytes()[200_000:200_100]
    flip(file, file.read_bytes().index(marker))
    with checkpoints.open_variables(path) as variables:
        for name in set(VARIABLES) - {"MobilenetV1/Logits/weights"}:
            assert variables[name].tobytes() == VARIABLES[name].tobytes()
        with pytest.raises(checkpoints.CheckpointError, match=r"MobilenetV1/Logits/weights in .*x is damaged"):
            variables["MobilenetV1/Logits/weights"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_flipped_bit_in_any_byte_is_detected(tmp_path, version):
    expected = {"a/b": np.float32([1, 2]), "a/c": np.float32([3])}
    path = write(tmp_path / "x", version, expected)
    for file in [*tmp_path.iterdir()]:
        whole = file.read_bytes()
        for position in range(len(whole)):
            flip(file, position)
            try:
                assert_identical(checkpoints.load_variables(path), expected)
            except checkpoints.CheckpointError as error:
                assert str(tmp_path) in str(error)
            file.write_bytes(whole)


@pytest.mark.parametrize("name", ["x.ckpt", "x.ckpt.index", "x.ckpt.data-00000-of-00001"])
def test_truncation_is_detected(tmp_path, name):
    path = write(tmp_path / "x.ckpt", 1 if name == "x.ckpt" else 2)
    file = tmp_path / name
    whole = file.read_bytes()
    for length in {0, 1, 7, 47, 48, len(whole) // 2, len(whole) - 1}:
        file.write_bytes(whole[:length])
        with pytest.raises(checkpoints.CheckpointError, match=r"cut short|damaged|empty"):
            checkpoints.load_variables(path)


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_missing_or_short_shard_is_detected_when_opening(tmp_path, shard):
    prefix = write_shards(tmp_path / "x")
    file = tmp_path / f"x.data-0000{shard}-of-00003"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(checkpoints.CheckpointError, match=f"{file.name} is cut short"):
        checkpoints.open_variables(prefix)
    file.unlink()
    with pytest.raises(checkpoints.CheckpointError, match=f"{file.name} is missing"):
        checkpoints.open_variables(prefix)


@pytest.mark.parametrize("name", V2_NAMES)
@pytest.mark.parametrize("missing", ["index", "data-00000-of-00001"])
def test_index_without_data_and_data_without_index(tmp_path, name, missing):
    write(tmp_path / "x.ckpt", 2)
    (tmp_path / f"x.ckpt.{missing}").unlink()
    with pytest.raises(checkpoints.CheckpointError, match=rf"x\.ckpt\.{missing} is missing"):
        checkpoints.load_variables(tmp_path / name)


def test_index_of_another_checkpoint(tmp_path):
    write(tmp_path / "x", 2, {"a": np.float32([1, 2])})
    write(tmp_path / "y", 2, {"a": np.float32([3, 4])})
    shutil.copy(tmp_path / "y.index", tmp_path / "x.index")
    with pytest.raises(checkpoints.CheckpointError, match=r"a in .*x is damaged"):
        checkpoints.load_variables(tmp_path / "x")


def test_one_shard_of_a_v1_checkpoint_is_refused(tmp_path):
    message = "one shard of a V1 checkpoint; x-00001-of-00002 is missing"
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.load_variables(write(tmp_path / "x-00000-of-00002", 1))


def test_a_checkpoint_of_strings_has_no_variables(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="holds no variables"):
        checkpoints.load_variables(write(tmp_path / "x", 2, {"text": b"text"}))


@pytest.mark.parametrize("name", ["x", "x.ckpt", "x.index", "x.meta", "x.pb", "x.h5", "x.tgz", "no/such/folder/x"])
def test_missing_file(tmp_path, name):
    with pytest.raises(checkpoints.CheckpointNotFound, match="does not exist") as info:
        checkpoints.load_variables(tmp_path / name)
    assert isinstance(info.value, FileNotFoundError) and isinstance(info.value, ValueError)


SUFFIXES = [
    "",
    ".ckpt",
    ".ckpt.index",
    ".ckpt.meta",
    ".pb",
    ".h5",
    ".hdf5",
    ".tgz",
    ".tar.gz",
    ".tar",
    ".keras",
    ".npz",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"MobileNet is a network.\n" * 99, bytes(5000), b"\x80\x04\x95.pickle"])
def test_other_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError) as info:
        checkpoints.load_variables(path)
    assert str(path) in str(info.value) and str(info.value).endswith(".") and "\n" not in str(info.value)
    if not content and suffix not in (".ckpt.index", ".tar"):
        assert str(info.value) == f"{path} is empty."


def test_pickles_are_never_loaded(tmp_path):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return trap.touch, ()

    np.savez(tmp_path / "x.npz", np.array([Trap()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    for name in ("x.npz", "x.npy"):
        for suffix in ("", ".ckpt", ".h5", ".pb", ".tar"):
            path = (tmp_path / name).with_suffix(suffix or (tmp_path / name).suffix)
            if suffix:
                shutil.copy(tmp_path / name, path)
            with pytest.raises(checkpoints.CheckpointError):
                checkpoints.load_variables(path)
    assert not trap.exists()


def test_folder_without_a_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(checkpoints.CheckpointNotFound, match="folder without a checkpoint"):
        checkpoints.load_variables(tmp_path)


@pytest.mark.parametrize("path", ["x\0y", "x" * 300, "x/" * 3000])
def test_invalid_paths(path):
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.load_variables(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="paths are Unicode there")
def test_a_path_that_is_not_unicode(tmp_path, version):
    path = tmp_path / os.fsdecode(b"\xff") / os.fsdecode(b"\xfe")
    path.parent.mkdir()
    checkpoints.save_checkpoint(VARIABLES, path, version)
    assert_identical(checkpoints.load_variables(path), VARIABLES)


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("no reason\nat all")

    monkeypatch.setattr(sstable, "open", fails, raising=False)
    with pytest.raises(checkpoints.CheckpointError, match=r"x cannot be read: no reason\."):
        checkpoints.open_variables(write(tmp_path / "x", 1))


def test_quantized_values_are_refused(tmp_path):
    prefix = str(tmp_path / "x")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant([1, 2], tf.qint8)])
    with pytest.raises(checkpoints.CheckpointError, match=r"a in .*x is declared as"):
        checkpoints.load_variables(prefix)


def test_repr(tmp_path):
    with checkpoints.open_variables(write(tmp_path / "x", 1)) as variables:
        assert repr(variables) == f"VariableFile('{tmp_path}/x', tensorflow checkpoint v1, {len(VARIABLES)} variables)"
