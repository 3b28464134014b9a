"""Archives as they were published, damaged ones and hostile ones."""

import gzip
import io
import os
import tarfile
import tempfile

import numpy as np
import pytest
import tensorflow as tf

import checkpoints
from checkpoints import archive

VARIABLES = {
    "MobilenetV2/Conv/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "global_step": np.int64(3),
}
KINDS = {"x.tgz": "w:gz", "x.tar.gz": "w:gz", "x.tar": "w", "no suffix": "w:gz"}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which must be empty after every test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not os.listdir(folder)


def members_of(folder, version):
    """Returns the members of a published archive: the checkpoint and other files."""
    folder.mkdir()
    checkpoints.save_checkpoint(VARIABLES, folder / "net.ckpt", version)
    members = {file.name: file.read_bytes() for file in folder.iterdir()}
    others = ["net.ckpt.meta", "net.tflite", "net_eval.pbtxt", "net_frozen.pb", "net_info.txt", "checkpoint"]
    return {name: b"ignored" for name in others} | members


def pack(path, members, mode="w:gz"):
    """Writes an archive; a member is its content, or a header that is written unchanged."""
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
            else:
                header = tarfile.TarInfo(name)
                header.size = len(content)
                file.addfile(header, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def assert_read(path):
    loaded = checkpoints.load_variables(path)
    assert set(loaded) == set(VARIABLES)
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("name", "mode"), KINDS.items())
@pytest.mark.parametrize("folder", ["", "./", "mobilenet/", "./a/b/"])
def test_a_published_archive(tmp_path, temporary, version, name, mode, folder):
    members = members_of(tmp_path / "source", version)
    path = pack(tmp_path / name, {f"{folder}{member}": content for member, content in members.items()}, mode)
    assert_read(path)
    with checkpoints.open_variables(path) as variables:
        assert variables.format == f"tensorflow checkpoint v{version}"
        assert variables.path == path and variables.files == (path,)
        unpacked = [file for _, _, files in os.walk(temporary) for file in files]
        assert "net.ckpt.meta" not in unpacked and "net_info.txt" not in unpacked
        assert variables["global_step"] == 3


def test_several_shards_in_an_archive(tmp_path):
    for i, (name, value) in enumerate(VARIABLES.items()):
        checkpoints.save_checkpoint({name: value}, tmp_path / f"part{i}")
    parts = [str(tmp_path / f"part{i}") for i in range(2)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "whole"))
    assert_read(pack(tmp_path / "x.tgz", {file.name: file.read_bytes() for file in tmp_path.glob("whole*")}))


@pytest.mark.parametrize("name", ["net.h5", "net.hdf5"])
def test_an_archive_of_hdf5(tmp_path, name):
    checkpoints.save_hdf5(VARIABLES, tmp_path / name)
    assert_read(pack(tmp_path / "x.tgz", {name: (tmp_path / name).read_bytes()}))


def test_an_archive_of_safetensors(tmp_path):
    checkpoints.save_safetensors(VARIABLES, tmp_path / "net.safetensors")
    assert_read(pack(tmp_path / "x.tgz", {"net.safetensors": (tmp_path / "net.safetensors").read_bytes()}))


def test_an_archive_of_a_frozen_graph(tmp_path):
    with tf.Graph().as_default() as graph:
        for name, value in VARIABLES.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
    path = pack(tmp_path / "x.tgz", {"net.tflite": b"", "net_frozen.pb": graph.as_graph_def().SerializeToString()})
    assert_read(path)
    with checkpoints.open_variables(path) as variables:
        assert variables.format == "frozen graph" and variables.files == (path,)


def test_an_error_inside_an_archive_names_the_archive(tmp_path):
    members = members_of(tmp_path / "source", 2)
    name = "net.ckpt.data-00000-of-00001"
    path = pack(tmp_path / "x.tgz", members | {name: members[name][:-1]})
    with pytest.raises(checkpoints.CheckpointError, match=f"{path}.*is cut short"):
        checkpoints.load_variables(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "without a checkpoint"),
        ({"readme.txt": b"text"}, "without a checkpoint"),
        ({"a.pb": b"", "b.pb": b""}, r"2 files of variables.* a\.pb, b\.pb"),
        ({"a.index": b"a", "b.index": b"b"}, r"2 files of variables.* a\.index, b\.index"),
        ({"a.ckpt": b"a text"}, "without a checkpoint"),
        ({"a.ckpt.index": b"a text"}, "damaged"),
        ({"a.pb": b"a text"}, "not a frozen graph"),
        ({"a.h5": b"a text"}, "not a file of variables"),
    ],
)
def test_archives_without_one_checkpoint(tmp_path, members, message):
    with pytest.raises(checkpoints.CheckpointError, match=message) as info:
        checkpoints.load_variables(pack(tmp_path / "x.tgz", members))
    assert str(tmp_path / "x.tgz") in str(info.value) and "temporary" not in str(info.value)


OUTSIDE = ["../x.ckpt", "a/../../x.ckpt", "/tmp/x.ckpt", "//x.ckpt", "a/..", "..\\x.ckpt", "C:\\x.ckpt", "C:x.ckpt"]
SPECIAL = {
    "symbolic link": special("x.ckpt", tarfile.SYMTYPE, "/etc/passwd"),
    "symbolic link inside": special("x.ckpt", tarfile.SYMTYPE, "net.ckpt.index"),
    "hard link": special("x.ckpt", tarfile.LNKTYPE, "net.ckpt.index"),
    "character device": special("x.ckpt", tarfile.CHRTYPE),
    "block device": special("x.ckpt", tarfile.BLKTYPE),
    "pipe": special("x.ckpt", tarfile.FIFOTYPE),
    "contiguous file": special("x.ckpt", tarfile.CONTTYPE),
    "unknown": special("x.ckpt", b"Z"),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_member_outside_the_folder_is_refused(tmp_path, name, first, mode):
    members = members_of(tmp_path / "source", 2)
    members = {name: b"evil"} | members if first else members | {name: b"evil"}
    with pytest.raises(checkpoints.CheckpointError, match="would be written outside the folder") as info:
        checkpoints.load_variables(pack(tmp_path / "x", members, mode))
    assert repr(name) in str(info.value)


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_and_devices_are_refused(tmp_path, kind):
    members = members_of(tmp_path / "source", 2) | {"x.ckpt": SPECIAL[kind]}
    with pytest.raises(checkpoints.CheckpointError, match=r"'x\.ckpt' is neither a plain file nor a folder"):
        checkpoints.load_variables(pack(tmp_path / "x.tgz", members))


def test_a_sparse_member_is_refused(tmp_path):
    """A header of 512 bytes that represents terabytes of zeros."""
    header = special("x.ckpt", tarfile.REGTYPE)
    header.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1"}
    header.pax_headers |= {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**42)}
    with pytest.raises(checkpoints.CheckpointError, match="neither a plain file nor a folder"):
        checkpoints.load_variables(pack(tmp_path / "x.tgz", {"x.ckpt": header}))


def test_a_duplicate_member_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as file:
        for name in ("a.pb", "./a.pb"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(checkpoints.CheckpointError, match=r"a\.pb' occurs twice"):
        checkpoints.load_variables(tmp_path / "x.tgz")


def test_a_file_and_a_folder_with_the_same_name_are_refused(tmp_path):
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.load_variables(pack(tmp_path / "x.tgz", {"a.pb": b"", "a.pb/b.pb": b""}))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("name", ["x.ckpt", "movie.mp4"])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, mode, name):
    """A member that is not unpacked counts too, because it takes the time to decompress it."""
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000_000)
    path = pack(tmp_path / "x", {name: bytes(11_000_000)}, mode)
    with pytest.raises(checkpoints.CheckpointError, match="unpacks to more than 10000000 bytes"):
        checkpoints.load_variables(path)


def test_a_decompression_bomb_after_the_end_of_the_tar_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000_000)
    content = pack(tmp_path / "x.tar", members_of(tmp_path / "source", 2), "w").read_bytes()
    (tmp_path / "x.tgz").write_bytes(gzip.compress(content) + gzip.compress(bytes(11_000_000)))
    with pytest.raises(checkpoints.CheckpointError, match="unpacks to more than"):
        checkpoints.load_variables(tmp_path / "x.tgz")


def test_a_header_with_a_wrong_size_is_refused(tmp_path):
    header = tarfile.TarInfo("x.ckpt")
    header.size = 2**40
    (tmp_path / "x.tar").write_bytes(header.tobuf() + bytes(2000))
    with pytest.raises(checkpoints.CheckpointError, match="damaged"):
        checkpoints.load_variables(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_gigabytes_is_refused(tmp_path, monkeypatch, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 2**32
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2000))
    with pytest.raises(checkpoints.CheckpointError, match=f"the name of a member has {2**32} bytes"):
        checkpoints.load_variables(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_too_many_members_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 20)
    headers = {i: special(f"{i}.txt" if kind == tarfile.REGTYPE else "one folder", kind) for i in range(21)}
    with pytest.raises(checkpoints.CheckpointError, match="more than 20 members"):
        checkpoints.load_variables(pack(tmp_path / "x.tgz", headers))


@pytest.mark.parametrize("version", [1, 2])
def test_damage_of_an_archive_is_detected(tmp_path, version):
    path = pack(tmp_path / "x.tgz", members_of(tmp_path / "source", version))
    whole = path.read_bytes()
    for i in range(3, len(whole), 37):
        for content in (whole[:i], whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :]):
            path.write_bytes(content)
            try:
                assert_read(path)
            except checkpoints.CheckpointError as error:
                assert str(path) in str(error)
    for content in (whole[:-1], whole[:-5] + b"\0" + whole[-4:]):  # the checksum at the end of gzip
        path.write_bytes(content)
        with pytest.raises(checkpoints.CheckpointError, match="damaged or not an archive"):
            checkpoints.load_variables(path)
