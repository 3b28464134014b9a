"""Google's six repositories on the Hugging Face Hub, the last source of their models, on a loopback stand-in."""

import contextlib
import hashlib
import importlib.util
import json
import shutil
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from checkpoints import archives, hugging_face, kaggle, origins
from converters.cli import main
from converters.exporting import transformers_folder
from tests.file_server import responds, serving
from tests.networks import set_weights
from tests.oracle.recipes import made_up_variables

NAME, FILE, REPOSITORY = "mobilenet_v2_035_96", "mobilenet_v2_0.35_96.tgz", "google/mobilenet_v2_0.35_96"
COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder for transformers of a published model, with made-up weights."""
    model = mobilenets.build(NAME)
    set_weights(model, made_up_variables(mobilenets.variable_shapes("mobilenet_v2", 0.35)))
    path = tmp_path_factory.mktemp("hub") / "model"
    transformers_folder.write_folder(model, path)
    return path


@contextlib.contextmanager
def hub(folder):
    """The part of the Hub's interface that `huggingface_hub` uses, for one repository; yields its URL and requests."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                rows = [{"type": "file", "oid": "0" * 40, "size": len(b), "path": name} for name, b in files.items()]
                self._send(json.dumps(rows).encode(), {"Content-Type": "application/json"})
            elif path.startswith(f"/api/models/{REPOSITORY}"):
                facts = {"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                facts |= {"private": False, "tags": [], "downloads": 0, "likes": 0}
                self._send(json.dumps(facts).encode(), {"Content-Type": "application/json"})
            elif path.startswith(f"/{REPOSITORY}/resolve/") and (body := files.get(path.rpartition("/")[2])):
                tag = hashlib.sha256(body).hexdigest()
                self._send(body, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
            else:
                self._send(b"", {}, 404)

        do_HEAD = do_GET

        def _send(self, body, headers, status=200):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def gone(monkeypatch, tmp_path):
    """No source of the model's archive and hub module has it; yields the server that says so."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOBILENETS_MIRRORS", raising=False)
    monkeypatch.delenv("MOBILENETS_OFFLINE", raising=False)
    monkeypatch.setattr(origins, "module_urls", lambda path: (f"http://127.0.0.1:9/{path}.tar.gz",))
    monkeypatch.setattr(kaggle, "handle", lambda path: None)
    with serving(b"") as server:
        server.answers = [responds(403)] * 50
        for name, (first, *_) in archives.REGISTRY.items():
            monkeypatch.setitem(archives.REGISTRY, name, (first._replace(urls=(server.url(first.file),)),))
        yield server


@pytest.fixture
def package(monkeypatch, folder):
    """A stand-in for the package huggingface_hub; yields what it is asked for."""
    asked = []

    def snapshot_download(name, revision, allow_patterns, local_files_only):
        asked.append((name, local_files_only))
        return str(folder)

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return asked


def test_the_six_repositories():
    """Named like the archives of their models."""
    assert len(hugging_face.GOOGLES) == 6
    for name, repository in hugging_face.GOOGLES.items():
        assert f"google/{archives.REGISTRY[name][0].file}" == f"{repository}.tgz"


def test_the_last_source_and_its_account(gone, package, folder, tmp_path):
    result = CliRunner().invoke(main, ["convert", NAME, "-o", str(tmp_path / "model.keras"), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["source"]["fetched_from"] == f"hf://{REPOSITORY}" and facts["source"]["format"] == "transformers"
    assert facts["source"]["files"].keys() == {"config.json", "model.safetensors"}
    assert facts["configuration"]["name"] == NAME and len(gone.requests) == 1
    note = f"No source had the archive {FILE} of {NAME}. The variables are those of hf://{REPOSITORY} (transformers)"
    assert any(text.startswith(note) for text in facts["notes"]) and f"Note: {note}" in result.stderr
    found = converters.slim_variables(converters.load_model(tmp_path / "model.keras"))
    expected = checkpoints.load_variables(folder)
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_a_folder_that_the_user_names_needs_no_note(gone, package):
    package.clear()
    conversion = converters.conversion_of(f"hf://{REPOSITORY}")
    assert conversion.fetched_from == f"hf://{REPOSITORY}" and not any("No source" in note for note in conversion.notes)


def test_the_archive_comes_first(gone, package, tmp_path, monkeypatch):
    body = b"archive"
    row = archives.REGISTRY[NAME][0]._replace(sha256=hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(archives.REGISTRY, NAME, (row,))
    monkeypatch.setattr("checkpoints.cache.check_complete", lambda source, part, gzipped: None)
    gone.answers, gone.body = [], body
    assert checkpoints.fetched(NAME).path.name == FILE and not package


def test_models_without_a_repository(gone, package):
    with pytest.raises(checkpoints.DownloadError) as caught:
        checkpoints.fetch("mobilenet_v2_050_96")
    assert "hf://" not in str(caught.value) and not package


def test_a_handle_means_the_module(gone, package):
    with pytest.raises(checkpoints.DownloadError) as caught:
        checkpoints.fetch(f"google/imagenet/{NAME}/classification/5")
    assert "hf://" not in str(caught.value) and not package


def test_without_the_package_the_message_names_the_extra(gone, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(checkpoints.DownloadError) as caught:
        checkpoints.fetch(NAME)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    answer = lines[lines.index(f"hf://{REPOSITORY}") + 1]
    assert answer == 'needs the package huggingface_hub: pip install "mobilenets[huggingface]" installs it'


def test_without_a_connection_only_the_cache_of_the_hub_is_read(gone, package, monkeypatch, folder):
    """Nothing listens at the stand-in's address."""
    assert checkpoints.fetched(NAME) == (folder, f"hf://{REPOSITORY}")
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    assert checkpoints.fetched(NAME) == (folder, f"hf://{REPOSITORY}")
    assert package == [(REPOSITORY, True)] * 2


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
def test_the_package_itself_on_a_loopback_hub(gone, folder, tmp_path, monkeypatch):
    import huggingface_hub

    with hub(folder) as (url, requests):
        monkeypatch.setenv("HF_ENDPOINT", url)
        # The package reads its environment when it is imported.
        original = huggingface_hub.snapshot_download
        monkeypatch.setattr(
            huggingface_hub,
            "snapshot_download",
            lambda name, **choices: original(name, endpoint=url, cache_dir=tmp_path / "hub", **choices),
        )
        file = checkpoints.fetched(NAME)
        assert file.origin == f"hf://{REPOSITORY}" and file.path.name == COMMIT
        assert {path.name for path in file.path.iterdir()} == {path.name for path in folder.iterdir()}
        count = len(requests)
        monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
        assert checkpoints.fetched(NAME) == file and len(requests) == count
    assert checkpoints.load_variables(file.path).keys() == checkpoints.load_variables(folder).keys()
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(checkpoints.DownloadError, match="MOBILENETS_OFFLINE is set"):
        checkpoints.fetch(NAME)
