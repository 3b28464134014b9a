"""Published models from several sources: mirrors, the registry's URLs, hub modules; and their pinned sha256."""

import contextlib
import csv
import gzip
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
import types

import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from checkpoints import archives, hugging_face, kaggle, origins, search
from checkpoints.reach import unreachable
from converters.cli import main
from converters.sources import find_source
from tests.documents import ROOT
from tests.file_server import PATIENCE, interrupts, responds, serving

BODY = gzip.compress(random.Random(1).randbytes(300_000), mtime=0)
OTHER = gzip.compress(random.Random(2).randbytes(1000), mtime=0)
FLIPPED = bytes([*BODY[:-1], BODY[-1] ^ 1])
NAME, FILE = "mobilenet_v2_035_96", "mobilenet_v2_0.35_96.tgz"
MODULE = "google/imagenet/mobilenet_v2_035_96/classification/5"


def digest(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def servers(monkeypatch, tmp_path):
    """Makes servers, and the first ones the only URLs of the model's archive, whose pinned sha256 is that of BODY."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(origins, "module_urls", lambda path: (f"http://127.0.0.1:9/{path}.tar.gz",))
    with contextlib.ExitStack() as stack:

        def make(*bodies):
            made = [stack.enter_context(serving(body)) for body in bodies]
            urls = tuple(server.url(FILE) for server in made)
            row = archives.Archive(NAME, FILE, urls, digest(BODY), len(BODY))
            monkeypatch.setitem(archives.REGISTRY, NAME, (row,))
            return made

        yield make


def refused(name=NAME, **choices):
    with pytest.raises(checkpoints.DownloadError) as caught:
        checkpoints.fetch(name, **choices)
    return str(caught.value)


def in_cache(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_pins_are_the_published_ones(shared):
    with (shared / "reference" / "published_archives.csv").open(newline="") as lines:
        known = {(row["url"], row["sha256"]) for row in csv.DictReader(lines)}
    for name in mobilenets.list_models():
        first, *others = mobilenets.get_model_info(name).archives
        for archive in (first, *others):
            assert archive.sha256 is None or (archive.url, archive.sha256) in known
    pins = {name: mobilenets.get_model_info(name).archives[0].sha256 for name in mobilenets.list_models()}
    # Nobody has published the sha256 of the two minimalistic archives.
    assert {name for name, pin in pins.items() if pin is None} == {name for name in pins if "minimalistic" in name}
    assert len(set(pins.values())) == len(pins) - 1 and all(len(pin) == 64 for pin in pins.values() if pin)


def test_the_folders_of_the_archives():
    for name in mobilenets.list_models():
        folder = {
            "mobilenet_v1": "http://download.tensorflow.org/models/mobilenet_v1_2018_02_22",
            "mobilenet_v2": "https://storage.googleapis.com/mobilenet_v2/checkpoints",
            "mobilenet_v3": "https://storage.googleapis.com/mobilenet_v3/checkpoints",
            "inception_v2": "http://download.tensorflow.org/models",
        }
        info = mobilenets.get_model_info(name)
        assert info.checkpoint_url == info.archives[0].url
        assert info.archives[0].url.rpartition("/")[0] == folder[info.family]


def test_both_packages_read_the_same_table():
    for name in mobilenets.list_models():
        ours = [(row.urls, row.sha256, row.bytes) for row in archives.REGISTRY[name]]
        assert ours == [
            ((row.url, *row.mirrors), row.sha256, row.bytes) for row in mobilenets.get_model_info(name).archives
        ]


def test_sources_are_asked_in_order_until_one_is_right(servers):
    forbidden, missing, wrong, right, never = servers(b"", b"", FLIPPED, BODY, BODY)
    forbidden.answers, missing.answers = [responds(403)], [responds(404)]
    file = checkpoints.fetched(NAME)
    assert file.path.name == FILE and file.path.read_bytes() == BODY
    assert file.origin == right.url(FILE)
    asked = [len(server.requests) for server in (forbidden, missing, wrong, right, never)]
    assert asked == [1, 1, 1, 1, 0]
    assert checkpoints.fetched(NAME) == file and len(right.requests) == 1
    source = find_source(NAME)
    assert (source.path, source.published, source.fetched_from) == (file.path, NAME, file.origin)


def test_every_answer_is_in_the_message(servers, tmp_path, monkeypatch):
    forbidden, wrong = servers(b"", FLIPPED)
    forbidden.answers = [responds(403)]
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("MOBILENETS_MIRRORS", str(tmp_path / "disk"))
    lines = refused().splitlines()
    answers = {source.strip(): answer.strip() for source, answer in itertools.pairwise(lines)}
    assert "403 Forbidden" in answers[forbidden.url(FILE)]
    assert digest(FLIPPED) in answers[wrong.url(FILE)] and digest(BODY) in answers[wrong.url(FILE)]
    assert answers[str(tmp_path / "disk" / FILE)] == "not there"
    assert "127.0.0.1:9" in answers[f"http://127.0.0.1:9/{MODULE}.tar.gz"]
    advice = "\n".join(lines[lines.index("What you can do:") :])
    assert FILE in advice and digest(BODY) in advice and "--from" in advice and "MOBILENETS_MIRRORS" in advice
    assert not in_cache(tmp_path)


@pytest.mark.parametrize("place", [0, 100, 150_000, -1])
def test_one_flipped_bit_is_refused(servers, tmp_path, place):
    body = bytearray(BODY)
    body[place] ^= 1
    servers(bytes(body))
    assert digest(body) in refused() and not in_cache(tmp_path)


def test_the_rest_of_another_file_does_not_follow(servers):
    """Two servers with the same ETag: the second one is asked for the whole file."""
    wrong, right = servers(FLIPPED, BODY)
    wrong.answers = [interrupts(100_000), responds(404)]
    assert checkpoints.fetch(NAME).read_bytes() == BODY
    assert right.ranges == [None]


def test_mirrors_come_before_the_registry(servers, tmp_path, monkeypatch):
    (registry,) = servers(BODY)
    with serving(FLIPPED) as wrong, serving(BODY) as right:
        bases = f"{tmp_path / 'none'}:{wrong.url('a/b/')},{right.url('models')}"
        monkeypatch.setenv("MOBILENETS_MIRRORS", bases)
        assert checkpoints.fetched(NAME).origin == right.url(f"models/{FILE}")
        assert [path for path, _ in wrong.requests] == [f"/a/b/{FILE}"]
    assert not registry.requests


def test_a_folder_as_mirror(servers, tmp_path, monkeypatch):
    (registry,) = servers(b"")
    (tmp_path / "some folder").mkdir()
    (tmp_path / "some folder" / FILE).write_bytes(BODY)
    monkeypatch.setenv("MOBILENETS_MIRRORS", str(tmp_path / "some folder"))
    file = checkpoints.fetched(NAME)
    assert file.path.read_bytes() == BODY and file.origin == str(tmp_path / "some folder" / FILE)
    (tmp_path / "some folder" / FILE).write_bytes(FLIPPED)
    assert checkpoints.fetch(NAME) == file.path and not registry.requests


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("", []),
        ("/a:/b c/d", ["/a", "/b c/d"]),
        ("http://h:80/x:https://h/y", ["http://h:80/x", "https://h/y"]),
        ("/a, http://127.0.0.1:5/\n/b", ["/a", "http://127.0.0.1:5/", "/b"]),
        ("http://h", ["http://h"]),
    ],
)
def test_the_list_of_mirrors(text, bases, monkeypatch):
    monkeypatch.setenv("MOBILENETS_MIRRORS", text)
    assert search.mirrors() == bases


def test_another_archive_needs_permission(servers, tmp_path):
    (server,) = servers(OTHER)
    assert digest(OTHER) in refused()
    assert checkpoints.fetch(NAME, allow_unpinned=True).read_bytes() == OTHER
    server.body = BODY
    assert checkpoints.fetch(NAME).read_bytes() == BODY


def test_permission_is_not_for_web_pages(servers, tmp_path):
    servers(b"<html>sign in here</html>")
    assert "not a complete gzip file" in refused(allow_unpinned=True) and not in_cache(tmp_path)


def test_an_archive_without_pin_needs_permission(servers, monkeypatch):
    (server,) = servers(BODY)
    row = archives.REGISTRY[NAME][0]._replace(sha256=None)
    monkeypatch.setitem(archives.REGISTRY, NAME, (row,))
    assert "--allow-unpinned" in refused() and not server.requests
    assert checkpoints.fetch(NAME, allow_unpinned=True).read_bytes() == BODY


def test_a_damaged_file_in_the_cache_is_replaced(servers):
    (server,) = servers(BODY)
    path = checkpoints.fetch(NAME)
    path.write_bytes(FLIPPED)
    assert checkpoints.fetch(NAME).read_bytes() == BODY and len(server.requests) == 2
    path.write_bytes(FLIPPED)
    server.answers = [responds(404)]
    message = refused()
    assert str(path) in message and digest(FLIPPED) in message


def test_the_url_of_an_archive_has_its_pin(servers, tmp_path):
    (server,) = servers(OTHER)
    message = refused(server.url(FILE))
    assert digest(OTHER) in message and digest(BODY) in message and not in_cache(tmp_path)


def test_the_hub_module_of_the_same_model(servers, tmp_path, monkeypatch):
    servers(b"")[0].answers = [responds(404)]
    with serving(OTHER) as storage:
        monkeypatch.setattr(origins, "module_urls", lambda path: (storage.url(f"{path}.tar.gz"),))
        file = checkpoints.fetched(NAME)
        assert file.origin == storage.url(f"{MODULE}.tar.gz") and file.path.read_bytes() == OTHER
        file.path.write_bytes(b"changed")
        assert checkpoints.fetch(NAME).read_bytes() == OTHER
        file.path.write_bytes(b"changed")
        storage.body = BODY
        message = refused()
        assert f"has the sha256 {digest(BODY)}, but it was {digest(OTHER)} when it was first fetched" in message


@pytest.mark.parametrize(
    ("handle", "path"),
    [
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/classification/5", MODULE),
        ("mobilenet_v2_035_96/feature_vector", "google/imagenet/mobilenet_v2_035_96/feature_vector/5"),
        ("google/imagenet/inception_v2/feature_vector/3", "google/imagenet/inception_v2/feature_vector/3"),
        (
            "https://tfhub.dev/google/tf2-preview/mobilenet_v2/classification/4",
            "google/tf2-preview/mobilenet_v2/classification/4",
        ),
        ("google/tf2-preview/mobilenet_v2/feature_vector", "google/tf2-preview/mobilenet_v2/feature_vector/4"),
    ],
)
def test_a_handle_means_the_module(servers, monkeypatch, handle, path):
    (registry,) = servers(BODY)
    with serving(OTHER) as storage:
        monkeypatch.setenv("MOBILENETS_MIRRORS", storage.url("modules"))
        source = find_source(handle)
        assert [asked for asked, _ in storage.requests] == [f"/modules/{path}.tar.gz"]
    assert source.path.read_bytes() == OTHER and not registry.requests
    assert source.published == mobilenets.get_model_info(handle).name


def test_handles_on_kaggle():
    for path, name in {
        "google/imagenet/mobilenet_v2_035_128/classification/5": "mobilenet-v2/tensorFlow2/035-128-classification/2",
        "google/imagenet/mobilenet_v1_100_224/classification/5": "mobilenet-v1/tensorFlow2/100-224-classification/2",
        "google/imagenet/inception_v2/classification/5": "inception-v2/tensorFlow2/classification/2",
        "google/tf2-preview/mobilenet_v2/classification/4": "mobilenet-v2/tensorFlow2/tf2-preview-classification/4",
    }.items():
        assert kaggle.handle(path) == f"google/{name}"
    assert kaggle.handle("google/imagenet/mobilenet_v1_100_224/classification/1") is None


def test_a_module_from_kaggle(servers, tmp_path, monkeypatch):
    servers(b"")[0].answers = [responds(404)]
    asked = []
    package = types.SimpleNamespace(model_download=lambda name: asked.append(name) or str(tmp_path))
    monkeypatch.setitem(sys.modules, "kagglehub", package)
    monkeypatch.setattr(search, "unreachable", lambda urls: {})
    assert checkpoints.fetched(NAME) == (
        tmp_path,
        "kaggle.com: google/mobilenet-v2/tensorFlow2/035-96-classification/2",
    )
    assert asked == ["google/mobilenet-v2/tensorFlow2/035-96-classification/2"]
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    assert "kaggle.com: " in refused() and len(asked) == 1


def test_a_repository_of_the_hugging_face_hub(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, **choices):
        asked.append((name, choices["revision"], choices["local_files_only"]))
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.setattr(hugging_face, "unreachable", lambda urls: {})
    source = find_source("hf://google/mobilenet_v2_1.0_224")
    assert (source.path, source.fetched_from) == (tmp_path, "hf://google/mobilenet_v2_1.0_224")
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    find_source("hf://google/mobilenet_v2_1.0_224@main")
    assert asked == [("google/mobilenet_v2_1.0_224", None, False), ("google/mobilenet_v2_1.0_224", "main", True)]
    assert "expected hf://owner/name" in refused("hf://google")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "mobilenets[huggingface]" in refused("hf://google/mobilenet_v2_1.0_224")


def test_a_genuine_module_is_fetched_by_its_handle(shared, tmp_path, monkeypatch):
    """From a storage on the loopback address: converted, and its outputs compared."""
    module = shared / "hub" / "mobilenet_v2_100_224_feature_vector"
    with tarfile.open(tmp_path / "module.tar.gz", "w:gz", compresslevel=1) as packed:
        packed.add(module, ".")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    with serving((tmp_path / "module.tar.gz").read_bytes()) as storage:
        monkeypatch.setattr(origins, "module_urls", lambda path: (storage.url(f"{path}.tar.gz"),))
        handle = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"
        result = CliRunner().invoke(main, ["convert", handle, "-o", str(tmp_path / "model.keras"), "--json"])
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        url = storage.url("google/tf2-preview/mobilenet_v2/feature_vector/4.tar.gz")
        assert facts["source"]["fetched_from"] == url
        assert facts["verification"]["outputs"]["compared"] > 50
    found = converters.slim_variables(converters.load_model(tmp_path / "model.keras"))
    expected = checkpoints.load_variables(module)
    assert len(found) == 260 and all((found[name] == expected[name]).all() for name in found)


def test_offline_no_host_is_asked(servers, monkeypatch):
    (server,) = servers(BODY)
    monkeypatch.setenv("MOBILENETS_MIRRORS", server.url("mirror"))
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))
    message = refused()
    assert "MOBILENETS_OFFLINE is set" in message and digest(BODY) in message
    assert "MOBILENETS_OFFLINE is set" in refused(server.url("labels.txt"))
    assert not server.requests


def test_offline_the_cache_and_folders_are_enough(servers, tmp_path, monkeypatch):
    servers(b"")
    (tmp_path / FILE).write_bytes(BODY)
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    monkeypatch.setenv("MOBILENETS_MIRRORS", str(tmp_path))
    path = checkpoints.fetch(NAME)
    monkeypatch.delenv("MOBILENETS_MIRRORS")
    assert checkpoints.fetch(NAME) == path and path.read_bytes() == BODY


def test_hosts_that_never_answer_cost_little_time(monkeypatch):
    ended = threading.Event()

    def slow(server, timeout):
        ended.wait(PATIENCE)
        raise OSError("too late")

    monkeypatch.setattr("socket.create_connection", slow)
    monkeypatch.setenv("NO_PROXY", "*")
    start = time.monotonic()
    answers = unreachable([f"https://host{number}/x" for number in range(20)], seconds=0.3)
    assert time.monotonic() - start < 2 and len(answers) == 20
    assert answers["https://host3/x"] == "there is no connection to host3:443: no answer within 0.3 seconds"
    ended.set()


@pytest.mark.parametrize("name", [NAME, "mobilenet_v1_025_224"])
def test_the_first_command_of_a_new_user_without_network(tmp_path, name):
    """Every host is behind a proxy that is not there."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment = kept | proxies | {"MOBILENETS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    program = "from converters.cli import main; main(prog_name='mobilenets')"
    start = time.monotonic()
    command = [sys.executable, "-c", program, "convert", name, "-o", str(tmp_path / "model.keras")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert time.monotonic() - start < 10
    assert result.returncode == 2 and not result.stdout and "Traceback" not in result.stderr
    archive = mobilenets.get_model_info(name).archives[0]
    assert archive.url in result.stderr and archive.sha256 in result.stderr
    assert "127.0.0.1:9" in result.stderr and "mobilenets fetch --from" in result.stderr
    assert not in_cache(tmp_path) and not (tmp_path / "model.keras").exists()
