"""Downloads from a server on the loopback address that fails in many ways."""

import collections
import errno
import gzip
import io
import json
import os
import random
import shutil
import types

import pytest

import checkpoints
from checkpoints import download
from tests import file_server
from tests.file_server import (
    in_chunks,
    interrupts,
    knows_no_ranges,
    never_answers,
    responds,
    serving,
    then,
    well,
)

PIECE = download.PIECE
BODY = gzip.compress(random.Random(1).randbytes(5 * PIECE), mtime=0)
OTHER = gzip.compress(random.Random(2).randbytes(5 * PIECE), mtime=0)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The waits between tries, in seconds; none of them takes time."""
    waited = []
    monkeypatch.setattr(download, "time", types.SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def fetch(tmp_path, server):
    """`checkpoints.fetch` of the served file into an empty cache."""
    return lambda path="net.tgz", **choices: checkpoints.fetch(server.url(path), cache=tmp_path / "cache", **choices)


def names_in(folder):
    return {file.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"}


def assert_fetched(path, body=BODY):
    assert path.read_bytes() == body
    assert names_in(path.parent) == {path.name, f"{path.name}.json"}
    assert json.loads(path.with_name(f"{path.name}.json").read_text())["sha256"] == checkpoints.sha256(path)


def refused(call, *words):
    """Asserts that a call fails with one sentence that contains all the words, and returns it."""
    with pytest.raises(checkpoints.DownloadError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    assert not [word for word in words if word not in sentence], sentence
    return sentence


def test_a_file_is_fetched_once(fetch, server, tmp_path):
    path = fetch()
    assert_fetched(path)
    assert path.name == "net.tgz" and tmp_path / "cache" in path.parents
    assert fetch() == path
    assert len(server.requests) == 1


def test_the_content_of_the_record(fetch, server):
    path = fetch()
    record = json.loads(path.with_name("net.tgz.json").read_text())
    assert set(record) == {"url", "sha256", "bytes", "first_seen"}
    assert (record["url"], record["bytes"]) == (server.url(), len(BODY))


def test_progress(fetch):
    seen = []
    fetch(progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(set(seen)) and len(seen) > 5


def test_the_file_is_stored_as_the_server_has_it(fetch, server):
    """A server may declare a .tgz as a "gzip-encoded" tar file; decompressed it would be another file."""
    server.answers = [responds(200, BODY, Content_Encoding="gzip", Content_Type="application/x-tar")]
    assert_fetched(fetch())
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("after", [PIECE, 3 * PIECE + 17, len(BODY) - 1])
def test_an_interrupted_download_resumes(fetch, server, after):
    server.answers = [interrupts(after)]
    assert_fetched(fetch())
    # An incomplete piece is requested again.
    assert len(server.ranges) == 2 and server.ranges[0] is None
    start = int(server.ranges[1].removeprefix("bytes=").removesuffix("-"))
    assert after - PIECE < start <= after
    assert server.requests[1][1]["If-Range"] == server.tag


def test_a_download_that_is_interrupted_repeatedly(fetch, server, waits):
    server.answers = [interrupts(2 * PIECE)] * 2 + [interrupts(10)] * 3
    assert_fetched(fetch(tries=5))
    assert waits == [0.5, 0.5, 1.0, 2.0, 4.0]  # progress resets the count of successive failures


def test_the_next_call_resumes(fetch, server):
    server.answers = [interrupts(2 * PIECE), interrupts(0)]
    refused(
        lambda: fetch(tries=2), server.url(), "(tries: 2)", f"the body ended after {2 * PIECE:,} of {len(BODY):,} bytes"
    )
    assert len(server.requests) == 2
    assert_fetched(fetch())
    assert server.ranges[2] == f"bytes={2 * PIECE}-"


def test_a_complete_part_is_not_requested_again(fetch, server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails_on(".part", os.replace))
        refused(fetch, "cannot be stored", "Input/output error")
    assert_fetched(fetch())
    assert len(server.requests) == 1


def fails_on(suffix, real):
    def call(path, *arguments):
        if str(path).endswith(suffix):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments)

    return call


def test_a_server_without_ranges_sends_the_whole_file_again(fetch, server):
    server.answers = [interrupts(2 * PIECE), knows_no_ranges]
    assert_fetched(fetch())
    assert server.ranges == [None, f"bytes={2 * PIECE}-"]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_strong_validator_the_whole_file_is_requested_again(fetch, server, tag):
    server.tag = tag
    server.answers = [interrupts(2 * PIECE)]
    assert_fetched(fetch())
    assert server.ranges == [None, None]


def test_the_time_of_the_last_change_is_a_validator_too(fetch, server):
    changed = "Wed, 01 Aug 2018 00:00:00 GMT"
    server.tag = None
    rest = {"Content_Range": f"bytes {PIECE}-{len(BODY) - 1}/{len(BODY)}", "Last_Modified": changed}
    server.answers = [
        responds(200, BODY[:PIECE], Content_Length=len(BODY), Last_Modified=changed),
        responds(206, BODY[PIECE:], **rest),
    ]
    assert_fetched(fetch())
    assert server.requests[1][1]["If-Range"] == changed


def test_a_file_that_changes_between_two_tries(fetch, server):
    server.answers = [interrupts(2 * PIECE), then(("body", OTHER), ("tag", '"second"'))]
    assert_fetched(fetch(), OTHER)
    assert server.ranges == [None, f"bytes={2 * PIECE}-"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": f"bytes {PIECE}-{len(OTHER) - 1}/{len(OTHER)}", "ETag": '"second"'},
        {"Content_Range": f"bytes {PIECE}-{len(OTHER) - 1}/{len(OTHER) + 1}", "ETag": '"first"'},
        {"Content_Range": f"bytes {PIECE + 1}-{len(OTHER) - 1}/{len(OTHER)}", "ETag": '"first"'},
        {"ETag": '"first"'},
    ],
    ids=["another version", "another length", "another start", "no range"],
)
def test_the_rest_of_another_file_is_not_appended(fetch, server, headers):
    server.answers = [interrupts(PIECE), responds(206, OTHER[PIECE:], **headers)]
    assert_fetched(fetch())
    assert server.ranges == [None, f"bytes={PIECE}-", None]


def test_a_part_longer_than_the_changed_file(fetch, server):
    server.answers = [interrupts(3 * PIECE), then(("body", OTHER[: 2 * PIECE]))]
    refused(fetch, "is not a complete gzip file")
    assert server.ranges == [None, f"bytes={3 * PIECE}-", None]
    assert server.requests[1][1]["If-Range"] == '"first"'


def test_a_length_that_is_too_long(fetch, server, waits):
    server.answers = [responds(200, BODY, Content_Length=len(BODY) + 1)] * 3
    refused(lambda: fetch(tries=3), f"after {len(BODY):,} of {len(BODY) + 1:,} bytes")
    assert len(waits) == 2 and len(server.requests) == 3


def test_a_length_that_is_too_short(fetch, server, tmp_path):
    """HTTP cannot detect it; the checksum at the end of gzip does."""
    server.answers = [responds(200, BODY, Content_Length=len(BODY) - 1)]
    refused(fetch, server.url(), "is not a complete gzip file")
    assert not names_in(tmp_path)
    assert_fetched(fetch())


@pytest.mark.parametrize("length", ["many", "-1"])
def test_an_invalid_length(fetch, server, length):
    server.answers = [responds(200, BODY, Content_Length=length)]
    assert_fetched(fetch())


def test_a_body_in_chunks(fetch, server):
    seen = []
    server.answers = [in_chunks]
    assert_fetched(fetch(progress=lambda done, total: seen.append((done, total))))
    assert seen[-1] == (len(BODY), None)


def test_a_range_that_is_too_short(fetch, server):
    rest = {"Content_Range": f"bytes {PIECE}-{len(BODY) - 1}/{len(BODY)}", "ETag": '"first"'}
    server.answers = [interrupts(PIECE), responds(206, BODY[PIECE:-5], **rest)]
    assert_fetched(fetch())
    assert server.ranges == [None, f"bytes={PIECE}-", f"bytes={len(BODY) - 5}-"]


def test_redirects_are_followed(fetch, server):
    server.answers = [responds(301, Location="/moved"), responds(302, Location=server.url("again")), interrupts(PIECE)]
    path = fetch()
    assert_fetched(path)
    assert path.name == "net.tgz"
    assert [path for path, _ in server.requests] == ["/net.tgz", "/moved", "/again", "/net.tgz"]


def test_endless_redirects(fetch, server):
    server.answers = [responds(302, Location="/net.tgz")] * 50
    refused(fetch, server.url(), "10 redirects")
    assert len(server.requests) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://["])
def test_redirects_to_other_protocols(fetch, server, target):
    server.answers = [responds(302, Location=target)]
    refused(fetch, server.url(), "cannot be fetched")
    assert len(server.requests) == 1


def test_a_silent_server(fetch, server):
    server.answers = [never_answers]
    assert_fetched(fetch(timeout=0.2))
    assert len(server.requests) == 2


def test_a_server_that_stays_silent(fetch, server):
    server.answers = [never_answers] * 2
    refused(lambda: fetch(timeout=0.2, tries=2), "(tries: 2)", "sent nothing for 0.2 seconds")


def test_a_server_that_stops_sending(fetch, server):
    server.answers = [file_server.pauses(2 * PIECE)]
    assert_fetched(fetch(timeout=0.2))
    assert server.ranges == [None, f"bytes={2 * PIECE}-"]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 501, 204, 304])
def test_permanent_errors(fetch, server, waits, tmp_path, status):
    server.answers = [responds(status)]
    refused(fetch, server.url(), f"answered {status}")
    assert not waits and len(server.requests) == 1
    assert not names_in(tmp_path)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_temporary_errors(fetch, server, waits, status):
    server.answers = [responds(status)] * 4
    assert_fetched(fetch())
    assert waits == [0.5, 1.0, 2.0, 4.0]


def test_a_server_that_never_recovers(fetch, server, waits):
    server.answers = [responds(503)] * 50
    refused(lambda: fetch(tries=9), server.url(), "(tries: 9)", "503 Service Unavailable")
    assert len(server.requests) == 9
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.parametrize(("retry_after", "wait"), [("7", 7.0), ("100000", 30.0), ("0", 0.5), ("soon", 0.5)])
def test_a_server_that_asks_to_wait(fetch, server, waits, retry_after, wait):
    server.answers = [responds(503, Retry_After=retry_after)]
    assert_fetched(fetch())
    assert waits == [wait]


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(BODY) as server:
        url = server.url()
    refused(lambda: checkpoints.fetch(url, cache=tmp_path, tries=2), url, "(tries: 2)", "Connection refused")


def test_a_failed_tls_connection(tmp_path, server, waits):
    url = server.url().replace("http:", "https:")
    refused(lambda: checkpoints.fetch(url, cache=tmp_path), url, "the TLS connection failed")
    assert not waits


def test_a_web_page_instead_of_an_archive(fetch, server, tmp_path):
    """As a network sends it that requires a login."""
    server.answers = [responds(200, b"<html>Welcome!</html>")]
    refused(fetch, server.url(), "is not a complete gzip file")
    assert not names_in(tmp_path)


def test_a_file_that_is_no_archive(fetch, server):
    server.answers = [responds(200, b"background\ntench\n")]
    assert_fetched(fetch("labels.txt"), b"background\ntench\n")


def test_too_little_space(fetch, server, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, len(BODY) - 1))
        sentence = refused(fetch, server.url(), f"needs {len(BODY):,} more bytes", f"{len(BODY) - 1:,} bytes free")
    assert str(tmp_path / "cache") in sentence
    assert not names_in(tmp_path) & {"net.tgz", "net.tgz.part"}
    assert_fetched(fetch())


def test_only_the_missing_bytes_need_space(fetch, server, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    server.answers = [interrupts(4 * PIECE)]
    free = iter([len(BODY), len(BODY) - 4 * PIECE])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, next(free)))
    assert_fetched(fetch())


def test_a_disk_that_fills_up(fetch, server, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() >= 2 * PIECE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(download, "open", Full, raising=False)
        refused(fetch, server.url(), "cannot be stored", "No space left on device")
    assert_fetched(fetch())
    assert server.ranges == [None, f"bytes={2 * PIECE}-"]


@pytest.mark.parametrize("answer", [well, in_chunks])
def test_a_file_that_is_too_large(fetch, server, monkeypatch, answer):
    monkeypatch.setattr(download, "MAX_BYTES", 2 * PIECE)
    server.answers = [answer]
    refused(fetch, server.url(), f"{2 * PIECE:,}")


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"validator": "x"}', "\x00"])
def test_a_part_of_unknown_version_is_not_resumed(fetch, server, tmp_path, state):
    server.answers = [interrupts(PIECE)]
    refused(lambda: fetch(tries=1), "(tries: 1)")
    (version,) = tmp_path.rglob("*.part.json")
    version.write_text(state)
    assert_fetched(fetch())
    assert server.ranges == [None, None]
