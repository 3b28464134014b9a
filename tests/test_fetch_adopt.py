"""``mobilenets fetch --from`` and ``mobilenets cache``."""

import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import zipfile

import pytest
from click.testing import CliRunner

import checkpoints
from checkpoints import archives
from converters.cli import main
from tests.file_server import serving

NAMES = ("mobilenet_v2_035_96", "mobilenet_v1_025_128", "inception_v2")


def packed(kind, seed):
    stream, content = io.BytesIO(), random.Random(seed).randbytes(2000)
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("net.ckpt", content)
    elif kind == "tar":
        with tarfile.open(fileobj=stream, mode="w") as archive:
            member = tarfile.TarInfo("net.ckpt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    else:
        return gzip.compress(content, mtime=0)
    return stream.getvalue()


BODIES = {name: packed(kind, seed) for seed, (name, kind) in enumerate(zip(NAMES, ("gzip", "zip", "tar"), strict=True))}


@pytest.fixture(autouse=True)
def pins(monkeypatch, tmp_path):
    """The pinned sha256 of three models are those of made-up archives; the network is forbidden."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    monkeypatch.delenv("MOBILENETS_MIRRORS", raising=False)
    for name, body in BODIES.items():
        row = archives.REGISTRY[name][0]._replace(sha256=hashlib.sha256(body).hexdigest())
        monkeypatch.setitem(archives.REGISTRY, name, (row,))


@pytest.fixture
def disk(tmp_path):
    """A folder with three archives under other names, and much else."""
    folder = tmp_path / "disk"
    (folder / "old" / "deep").mkdir(parents=True)
    for name, path in zip(NAMES, ("a.bin", "old/copy (1).tgz", "old/deep/x"), strict=True):
        (folder / path).write_bytes(BODIES[name])
    (folder / "old" / "other.tgz").write_bytes(gzip.compress(b"another archive"))
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "empty.tgz").touch()
    (folder / "link to folder").symlink_to(folder)
    (folder / "broken link").symlink_to(folder / "none")
    os.mkfifo(folder / "pipe")
    return folder


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_archives_are_adopted_under_their_own_names(disk):
    result = invoke("fetch", "--from", disk)
    assert result.exit_code == 0, result.output
    paths = [checkpoints.fetch(name) for name in NAMES]
    assert sorted(result.stdout.splitlines()) == sorted(map(str, paths))
    for name, path in zip(NAMES, paths, strict=True):
        assert path.read_bytes() == BODIES[name] and path.name == archives.REGISTRY[name][0].file
    assert checkpoints.fetched(NAMES[0]).origin == str(disk / "a.bin")


def test_one_file_and_one_model(disk):
    (facts,) = json.loads(invoke("fetch", "--from", disk / "a.bin", "--json").stdout)
    assert facts["name"] == NAMES[0] and facts["sha256"] == hashlib.sha256(BODIES[NAMES[0]]).hexdigest()
    (facts,) = json.loads(invoke("fetch", "--from", disk, NAMES[1], "--json").stdout)
    assert facts["name"] == NAMES[1] and facts["url"] == str(disk / "old" / "copy (1).tgz")


def test_nothing_to_adopt(disk, tmp_path):
    body = bytearray(BODIES[NAMES[0]])
    body[50] ^= 1
    (tmp_path / "changed.tgz").write_bytes(body)
    for path in (tmp_path / "changed.tgz", disk / "photo.jpg"):
        result = invoke("fetch", "--from", path)
        assert result.exit_code == 2 and str(path) in result.stderr and "pinned sha256" in result.stderr
    result = invoke("fetch", "--from", disk, "mobilenet_v2_140_224")
    assert result.exit_code == 2 and "mobilenet_v2_140_224" in result.stderr
    assert invoke("fetch", "--from", tmp_path / "none").exit_code == 2
    assert not list((tmp_path / "cache").rglob("*.tgz"))


def test_the_list_of_the_cache(disk):
    assert "has no files" in invoke("cache", "list").stdout
    invoke("fetch", "--from", disk)
    facts = json.loads(invoke("cache", "list", "--json").stdout)
    assert [file["name"] for file in facts] == sorted(NAMES)
    assert {file["state"] for file in facts} == {"pinned"}
    assert facts[2]["bytes"] == len(BODIES[NAMES[0]]) and facts[2]["origin"] == str(disk / "a.bin")
    shown = invoke("cache", "list").stdout
    assert all(name in shown for name in NAMES) and str(disk / "a.bin") in shown and "pinned" in shown


def test_states(disk, monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MOBILENETS_OFFLINE")
    with serving(b"kind\n") as server:
        path = checkpoints.fetch(server.url("labels.txt"))
    (disk / "old" / "other.tgz").rename(tmp_path / "cache" / "stranger.tgz")
    assert [file.state for file in checkpoints.cached_files()] == ["trusted on first use"]
    assert invoke("cache", "verify").exit_code == 0
    path.write_bytes(b"kinds\n")
    assert [file.state for file in checkpoints.cached_files()] == ["trusted on first use"]
    result = invoke("cache", "verify")
    assert result.exit_code == 1 and str(path) in result.stderr and "changed" in result.stdout
    path.with_name("labels.txt.json").unlink()
    assert [file.state for file in checkpoints.cached_files()] == ["without record"]


def test_files_are_removed_by_name(disk, tmp_path):
    invoke("fetch", "--from", disk)
    result = invoke("cache", "remove", NAMES[0], "nothing")
    assert result.exit_code == 2 and "nothing is not in the cache" in result.stderr
    assert len(checkpoints.cached_files()) == 3
    result = invoke("cache", "remove", NAMES[0], archives.REGISTRY[NAMES[1]][0].file)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2
    (rest,) = checkpoints.cached_files()
    assert rest.name == NAMES[2]
    assert invoke("cache", "remove").exit_code == 2
    (tmp_path / "cache" / "mine.txt").write_text("mine")
    assert invoke("cache", "remove", "--all").exit_code == 0
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == [tmp_path / "cache" / "mine.txt"]
