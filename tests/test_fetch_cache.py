"""The cache of downloads: its folder, its lock, and the checksums that it records."""

import gzip
import hashlib
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import threading

import platformdirs
import pytest

import checkpoints
from tests.file_server import PATIENCE, pauses

BODY = gzip.compress(random.Random(1).randbytes(300_000), mtime=0)
OTHER = gzip.compress(random.Random(2).randbytes(300_000), mtime=0)
# A program for another process, which prints the progress and the path of the file.
FETCH = """
import logging, sys, checkpoints
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s: %(message)s")
report = lambda done, total: print("done", done, flush=True)
print("path", checkpoints.fetch(sys.argv[1], cache=sys.argv[2], progress=report), flush=True)
"""


@pytest.fixture
def process(server, tmp_path):
    """Starts processes that fetch the file, and kills them after the test."""
    started = []

    def start():
        command = [sys.executable, "-c", FETCH, server.url(), str(tmp_path / "cache")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        limit = threading.Timer(PATIENCE, process.kill)
        limit.start()
        started.append((process, limit))
        return process

    yield start
    for process, limit in started:
        limit.cancel()
        process.kill()
        process.communicate()


def line_with(process, words):
    """Reads the output of a process up to the line with these words."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return line
    raise AssertionError(f"the process ended without {words!r}: {lines[-5:]}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mobilenet_v2_035_95", "mobilenet_v2_035_96"),
        ("", "_v"),
        ("ftp://127.0.0.1/x", "URL"),
        ("http://a b", "URL"),
        ("http://", "URL"),
    ],
)
def test_neither_a_model_nor_a_url(tmp_path, name, hint):
    with pytest.raises(checkpoints.DownloadError, match=hint) as caught:
        checkpoints.fetch(name, cache=tmp_path)
    assert repr(name) in str(caught.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:99999/", "https:///x"])
def test_invalid_urls(tmp_path, url):
    with pytest.raises(checkpoints.DownloadError, match="cannot be fetched") as caught:
        checkpoints.fetch(url, cache=tmp_path)
    assert url in str(caught.value)


def test_the_folder_of_the_cache(tmp_path, server, monkeypatch):
    monkeypatch.delenv("MOBILENETS_CACHE", raising=False)
    assert checkpoints.cache_folder() == platformdirs.user_cache_path("mobilenets", appauthor=False)
    monkeypatch.setenv("MOBILENETS_CACHE", "")
    assert checkpoints.cache_folder() == platformdirs.user_cache_path("mobilenets", appauthor=False)
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "environment"))
    assert tmp_path / "environment" in checkpoints.fetch(server.url()).parents
    assert tmp_path / "argument" in checkpoints.fetch(server.url(), cache=str(tmp_path / "argument")).parents


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mobilenet_v1_0.25_128.tgz", "mobilenet_v1_0.25_128.tgz"),
        ("a/b/labels.txt?version=2#top", "labels.txt"),
        ("../../labels.txt", "labels.txt"),
        ("..", "file"),
        ("a/..%2F..%2F.bashrc", "bashrc"),
        ("%00%5Cx:y.txt", "__x_y.txt"),
        ("l" * 300 + ".txt", "l" * 96 + ".txt"),
    ],
)
def test_names_stay_in_the_cache(tmp_path, server, path, name):
    fetched = checkpoints.fetch(server.url(path), cache=tmp_path)
    assert fetched.name == name and fetched.parent.parent == tmp_path
    assert {file.parent for file in tmp_path.rglob("*") if file.is_file()} == {fetched.parent}


def test_files_with_the_same_name_from_different_urls(tmp_path, server):
    first = checkpoints.fetch(server.url("2018_02_22/net.tgz"), cache=tmp_path)
    server.body = OTHER
    second = checkpoints.fetch(server.url("2018_08_02/net.tgz"), cache=tmp_path)
    assert first.read_bytes() == BODY and second.read_bytes() == OTHER


def test_a_changed_file_is_refused_until_it_is_deleted(tmp_path, server):
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(checkpoints.DownloadError, match=r"has changed .* delete it") as caught:
        checkpoints.fetch(server.url(), cache=tmp_path)
    assert all(word in str(caught.value) for word in (str(path), digest(BODY), digest(OTHER)))
    assert path.read_bytes() == OTHER and len(server.requests) == 1
    path.unlink()
    assert checkpoints.fetch(server.url(), cache=tmp_path).read_bytes() == BODY


def test_a_changed_remote_file_is_refused_until_its_record_is_deleted(tmp_path, server):
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    path.unlink()
    server.body, server.tag = OTHER, '"second"'
    record = path.with_name("net.tgz.json")
    for _ in range(2):
        with pytest.raises(checkpoints.DownloadError, match="when it was first fetched") as caught:
            checkpoints.fetch(server.url(), cache=tmp_path)
        assert all(word in str(caught.value) for word in (server.url(), f"delete {record}", digest(OTHER)))
        assert not path.exists()
    record.unlink()
    assert checkpoints.fetch(server.url(), cache=tmp_path).read_bytes() == OTHER


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", '{"sha256"'])
def test_a_damaged_record(tmp_path, server, text):
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    record = path.with_name("net.tgz.json")
    record.write_text(text)
    with pytest.raises(checkpoints.DownloadError, match="delete it") as caught:
        checkpoints.fetch(server.url(), cache=tmp_path)
    assert str(record) in str(caught.value)
    record.unlink()
    assert checkpoints.fetch(server.url(), cache=tmp_path) == path


def test_a_file_without_a_record_gets_one(tmp_path, server):
    """As after copying the file into the cache, or after a killed process."""
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    record = path.with_name("net.tgz.json")
    record.unlink()
    assert checkpoints.fetch(server.url(), cache=tmp_path) == path
    assert json.loads(record.read_text())["sha256"] == digest(BODY)
    assert len(server.requests) == 1


def test_an_expected_sha256(tmp_path, server):
    with pytest.raises(checkpoints.DownloadError, match="is expected") as caught:
        checkpoints.fetch(server.url(), cache=tmp_path, sha256=digest(OTHER))
    assert digest(BODY) in str(caught.value) and digest(OTHER) in str(caught.value)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"]
    path = checkpoints.fetch(server.url(), cache=tmp_path, sha256=digest(BODY).upper())
    with pytest.raises(checkpoints.DownloadError, match="is expected") as caught:
        checkpoints.fetch(server.url(), cache=tmp_path, sha256=digest(OTHER))
    assert str(path) in str(caught.value)


def digest(body):
    return hashlib.sha256(body).hexdigest()


def test_a_complete_cache_may_be_read_only(tmp_path, server):
    """Root may write everywhere, so the test compares modification times: nothing may be written."""
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    path.with_name("net.tgz.lock").unlink(missing_ok=True)
    for file in [*path.parent.iterdir(), path.parent, tmp_path]:
        os.chmod(file, stat.S_IRUSR | (stat.S_IXUSR if file.is_dir() else 0))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    try:
        assert checkpoints.fetch(server.url(), cache=tmp_path) == path
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    finally:
        os.chmod(tmp_path, 0o700)
        os.chmod(path.parent, 0o700)


def test_a_cache_that_cannot_be_created(tmp_path, server):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(checkpoints.DownloadError, match=r"cannot be stored in .*: (Not a directory|File exists)\."):
        checkpoints.fetch(server.url(), cache=tmp_path / "file")
    assert not server.requests


def test_two_processes_share_one_download(server, process, tmp_path):
    server.answers = [pauses(100_000)]
    first = process()
    assert server.paused.wait(PATIENCE)
    second = process()
    line_with(second, "not acquired")  # a message of filelock before it waits
    assert not [file for file in tmp_path.rglob("net.tgz") if file.is_file()]
    server.resume.set()
    assert line_with(first, "path") == line_with(second, "path")
    assert len(server.requests) == 1
    (path,) = tmp_path.rglob("net.tgz")
    assert path.read_bytes() == BODY


def test_a_waiting_process_continues_after_the_first_is_killed(server, process, tmp_path):
    server.answers = [pauses(200_000)]
    first = process()
    line_with(first, "done 65536")
    second = process()
    line_with(second, "not acquired")
    first.kill()
    line_with(second, "path")
    (path,) = tmp_path.rglob("net.tgz")
    assert path.read_bytes() == BODY
    assert len(server.requests) == 2


def test_the_download_of_a_killed_process_is_resumed(server, process, tmp_path):
    server.answers = [pauses(200_000)]
    killed = process()
    line_with(killed, f"done {3 * 65536}")
    killed.kill()
    killed.wait()
    assert not list(tmp_path.rglob("net.tgz"))
    (part,) = tmp_path.rglob("net.tgz.part")
    came = part.stat().st_size
    path = checkpoints.fetch(server.url(), cache=tmp_path / "cache")
    assert path.read_bytes() == BODY
    assert 0 < came <= 200_000 and server.ranges == [None, f"bytes={came}-"]
    assert not list(tmp_path.rglob("*.part*"))


def hostile(kind):
    """Returns an archive whose names or links refer to files outside of its folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        header = tarfile.TarInfo(
            {"up": "../escaped.ckpt.index", "absolute": "/tmp/escaped.ckpt.index"}.get(kind, "x.ckpt")
        )
        if kind == "link":
            header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        if kind == "device":
            header.type = tarfile.CHRTYPE
        header.size = 4 if header.isreg() else 0
        archive.addfile(header, io.BytesIO(b"evil"))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["up", "absolute", "link", "device"])
def test_a_hostile_archive_is_never_unpacked(tmp_path, server, kind):
    server.body = hostile(kind)
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="is refused"):
        checkpoints.open_variables(path)
    assert not [file for file in tmp_path.rglob("*") if "escaped" in file.name]


def test_an_incomplete_archive_is_not_recorded(tmp_path, server):
    server.body = BODY[:-1]
    with pytest.raises(checkpoints.DownloadError, match="is not a complete gzip file"):
        checkpoints.fetch(server.url(), cache=tmp_path)
    server.body = BODY[:5000] + bytes([BODY[5000] ^ 1]) + BODY[5001:]
    with pytest.raises(checkpoints.DownloadError, match="is not a complete gzip file"):
        checkpoints.fetch(server.url(), cache=tmp_path)
    server.body = BODY
    assert checkpoints.fetch(server.url(), cache=tmp_path).read_bytes() == BODY


def test_fetching_imports_nothing_heavy():
    code = (
        "import sys, checkpoints; checkpoints.fetch; print(sorted({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
