"""What a hostile server, a URL with secrets and a damaged cache do not achieve."""

import gzip
import json
import re
import time

import pytest
from click.testing import CliRunner

import checkpoints
from checkpoints import download, plain_text, search
from checkpoints.request import READ
from converters.cli import main
from tests.file_server import head, responds

BODY = gzip.compress(b"x" * 100_000)
SECRETS = ("hunter2", "s3cret")


def everything_in(folder):
    return "".join(f"{file} {file.read_bytes()!r}" for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["net.tgz", "net.tar.gz", "net.zip", "net"])
def test_an_empty_file_is_not_kept(server, tmp_path, name):
    server.answers = [responds(200)]
    with pytest.raises(checkpoints.DownloadError, match=f"{name} is empty"):
        checkpoints.fetch(server.url(name), cache=tmp_path, tries=1)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".lock")]


def secret_url(server, path="net.tgz"):
    return server.url(f"{path}?token=s3cret").replace("://", "://user:hunter2@")


def test_secrets_of_a_url_are_not_stored(server, tmp_path):
    file = checkpoints.fetched(secret_url(server), cache=tmp_path)
    assert file.path.read_bytes() == BODY
    assert file.origin == server.url("net.tgz?token=***")
    assert json.loads((file.path.with_name("net.tgz.json")).read_text())["url"] == file.origin
    assert not any(secret in everything_in(tmp_path) for secret in SECRETS)
    # The server gets them.
    assert server.requests[0][0].endswith("token=s3cret") and "Authorization" in server.requests[0][1]


@pytest.mark.parametrize(
    "answer", [responds(404), responds(403), responds(200, b"<html>"), responds(302, Location="file:///etc/passwd")]
)
def test_secrets_of_a_url_are_not_printed(server, tmp_path, answer):
    server.answers = [answer] * 2
    with pytest.raises(checkpoints.DownloadError) as error:
        checkpoints.fetch(secret_url(server), cache=tmp_path, tries=1)
    shown = [str(error.value)]
    server.answers = [answer] * 4
    result = CliRunner().invoke(main, ["fetch", secret_url(server), "--cache", str(tmp_path), "--json"])
    assert result.exit_code == 2
    shown.append(result.output)
    assert not any(secret in text for secret in SECRETS for text in shown), shown


def test_secrets_of_a_mirror_are_not_printed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    mirror = f"http://user:hunter2@127.0.0.1:{server.port}/files"
    monkeypatch.setenv("MOBILENETS_MIRRORS", f"{mirror},/nowhere")
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    assert search.mirrors() == [mirror, "/nowhere"]
    with pytest.raises(checkpoints.DownloadError) as error:
        checkpoints.fetch("mobilenet_v1_025_128")
    assert f"http://127.0.0.1:{server.port}/files" in str(error.value) and "hunter2" not in str(error.value)


def test_what_a_server_calls_its_error(server, tmp_path):
    def answer(files, request):
        request.send_response_only(404, "\x1b[31mred")
        request.send_header("Content-Length", "0")
        request.end_headers()

    server.answers = [answer]
    with pytest.raises(checkpoints.DownloadError, match=re.escape("answered 404 \\x1b[31mred.")):
        checkpoints.fetch(server.url(), cache=tmp_path, tries=1)


RECORDS = {
    "nested": "[" * 100_000,
    "null": '{"sha256": null}',
    "short": '{"sha256": "abc"}',
    "a number": '{"sha256": 5}',
    "a list": '[{"sha256": 5}]',
    "a URL that is none": json.dumps({"sha256": "0" * 64, "url": ["x"]}),
    "no text": b"\xff\xfe",
    "empty": "",
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record(server, tmp_path, name):
    path = checkpoints.fetch(server.url(), cache=tmp_path)
    record = path.with_name("net.tgz.json")
    content = RECORDS[name]
    record.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(checkpoints.DownloadError, match=r"net.tgz.json is not the record of a download"):
        checkpoints.fetch(server.url(), cache=tmp_path)
    assert [file.state for file in checkpoints.cached_files(tmp_path)] == ["changed"]


@pytest.mark.parametrize("content", ["[" * 100_000, "null", '["x"]', '{"validator": 5, "total": "x"}', "{"])
def test_a_damaged_note_on_an_interrupted_download(server, tmp_path, content):
    part = tmp_path / "net.part"
    part.write_bytes(b"wrong")
    (tmp_path / "net.part.json").write_text(content)
    download.download(server.url(), part)
    assert part.read_bytes() == BODY


def drips(where):
    """Sends a byte every 50 ms, of the headers or of the body."""

    def answer(files, request):
        if where == "body":
            head(request, 200, {"Content-Length": len(BODY)})
        else:
            request.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        for _ in range(400):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_drips(server, tmp_path, where):
    server.answers = [drips(where)] * 2
    start = time.monotonic()
    with pytest.raises(checkpoints.DownloadError, match=f"fewer than {READ:,} bytes within 0.3 seconds"):
        checkpoints.fetch(server.url(), cache=tmp_path, timeout=0.3, tries=2)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@h/a?b=c&d=e#f", "https://h/a?b=***&d=***"),
        ("https://user:p@w@h/a", "https://h/a"),
        ("https://h/a?secret", "https://h/a?***"),
        ("https://tfhub.dev/m/1?tf-hub-format=compressed", "https://tfhub.dev/m/1?tf-hub-format=compressed"),
        ("at (https://h/a?b=c), twice.", "at (https://h/a?b=***), twice."),
        ("url: /a?api_key=abc&x=1 failed", "url: /a?api_key=***&x=1 failed"),
        ("a\x1b[31m\u202eb\x00", "a\\x1b[31m\\u202eb\\x00"),
        ("photos/a?b=c.png äöü 猫", "photos/a?b=c.png äöü 猫"),
    ],
)
def test_what_a_person_may_see(text, shown):
    assert plain_text.shown(text).removesuffix("#f") == shown
