"""Downloads a URL into a file, across failures of the connection.

`requests` implements HTTP: certificates, proxies, redirects, timeouts. This module resumes an interrupted download
(RFC 9110, section 14) and retries.
"""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, NoReturn

import requests
import urllib3

from checkpoints.archive import MAX_BYTES
from checkpoints.errors import DownloadError, reason
from checkpoints.files import replacing
from checkpoints.inputs import read_json
from checkpoints.request import READ, Request, TooSlow

PIECE = 1 << 16
"""Bytes that count as progress between two failures."""
ANSWER_TIMEOUTS, PIECE_TIMEOUTS = 2.0, 1.5
"""Times the timeout for the whole answer before its body, and for each `checkpoints.request.READ` bytes of the body."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
RETRYABLE = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses of temporary failures."""

OFFLINE_VARIABLE = "MOBILENETS_OFFLINE"

Progress = Callable[[int, int | None], object]


def offline() -> bool:
    """Returns whether the environment variable ``MOBILENETS_OFFLINE`` forbids to ask the network."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


class _TemporaryFailure(Exception):
    """A failure worth a retry, after at least `wait` seconds."""

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class _Version(NamedTuple):
    """The version of a remote file: its strong validator, or None, and its length, None if unknown."""

    validator: str | None
    total: int | None


def download(
    url: str, part: Path, *, timeout: float = 30.0, tries: int = 5, progress: Progress = lambda done, total: None
) -> None:
    """Downloads a URL into a file, and resumes where an earlier call was interrupted.

    The file ``<part>.json`` next to `part` records the version of the remote file. The rest is requested on condition
    that the version is still the same; if it is not, or if the server does not support ranges, the download starts
    again.

    Args:
        url: http or https.
        part: the file. It is complete when the function returns, and has the bytes received so far when it raises.
        timeout: seconds to wait for a connection and for each packet. A server that sends fewer than 8 KiB in 1.5 times
            of it, or headers for twice as long, counts as one that sends nothing.
        tries: number of successive failures (no connection, a timeout, an incomplete body, status 408, 425, 429 or
            500 to 504) without another 64 KiB of the file after which to give up. The waits between them double from
            half a second to 30 seconds. A longer wait that the server asks for (``Retry-After``) is respected, up to
            30 seconds.
        progress: called with the number of bytes received and the length of the file, None if unknown.

    Raises:
        DownloadError: all tries failed, the response is a permanent error (such as 404), or the disk has too little
            space.
        OSError: the file cannot be written.
    """
    if offline():
        raise DownloadError(f"{url} was not asked, because {OFFLINE_VARIABLE} is set.")
    most, failures = _size(part), 0
    while True:
        try:
            return _attempt(url, part, timeout, progress)
        except _TemporaryFailure as failure:
            size = _size(part)
            failures = 1 if size >= most + PIECE else failures + 1
            most = max(most, size)
            if failures >= tries:
                raise DownloadError(f"{url} could not be fetched (tries: {tries}): {failure}.") from failure
            time.sleep(min(max(failure.wait, FIRST_WAIT * 2 ** (failures - 1)), LONGEST_WAIT))


def discard(part: Path) -> None:
    """Removes an unfinished download."""
    part.unlink(missing_ok=True)  # first: a part without its version is never resumed
    _version_file(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, timeout: float, progress: Progress) -> None:
    version = _version_of(part)
    if version is None:
        discard(part)
        version = _Version(None, None)
    done = _size(part)
    if done and done == version.total:
        return
    # The archive as it is on the server, without another compression for the transfer.
    headers = {"Accept-Encoding": "identity"}
    if done and version.validator:
        headers |= {"Range": f"bytes={done}-", "If-Range": version.validator}
    with _failures_classified(url, timeout), Request(url, headers, timeout) as request:
        response = request.response(ANSWER_TIMEOUTS * timeout)
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and done:
            _check_range(response, done, version, part)
        elif response.status_code == HTTPStatus.OK:
            done, version = 0, _start(response, part)
        else:
            _refuse(response, url, part)
        _check_space(url, part, done, version.total)
        _write(request, url, part, done, version.total, timeout, progress)


@contextlib.contextmanager
def _failures_classified(url: str, timeout: float) -> Iterator[None]:
    """Turns errors of `requests` into temporary or permanent failures.

    These do not have the original error as their cause, because its message may have the secrets in a URL.
    """
    try:
        yield
    except DownloadError:
        raise
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url} cannot be fetched: the TLS connection failed ({_cause(error)}).") from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise _TemporaryFailure(f"the server sent nothing for {timeout:g} seconds") from None
    except TooSlow:
        raise _TemporaryFailure(f"the server sends fewer than {READ:,} bytes within {timeout:g} seconds") from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        raise _TemporaryFailure(f"the connection failed ({_cause(error)})") from None
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to an invalid URL
        raise DownloadError(f"{url} cannot be fetched: {reason(error)}.") from None


def _cause(error: BaseException) -> str:
    """Returns the message of the operating system's error, which requests and urllib3 wrap several times."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or reason(error)


def _check_range(response: requests.Response, start: int, version: _Version, part: Path) -> None:
    """Checks that a partial response continues the bytes received so far."""
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    fits = (
        content_range is not None
        and int(content_range[1]) == start
        and content_range[2] in ("*", str(version.total))
        and _validator(response) in (None, version.validator)
    )
    if not fits:
        discard(part)
        raise _TemporaryFailure("the server sent another range than the requested one")


def _start(response: requests.Response, part: Path) -> _Version:
    discard(part)
    # urllib3 derives the length from the headers, with chunks and encodings taken into account.
    version = _Version(_validator(response), response.raw.length_remaining)
    if version.validator is not None:
        with replacing(_version_file(part)) as file:
            file.write_text(json.dumps(version._asdict()))
    return version


def _refuse(response: requests.Response, url: str, part: Path) -> NoReturn:
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in RETRYABLE:
        wait = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _TemporaryFailure(f"the server answered {status}", wait)
    if response.status_code in (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.PARTIAL_CONTENT):
        discard(part)
        raise _TemporaryFailure(f"the server answered {status}")
    raise DownloadError(f"{url} cannot be fetched: the server answered {status}.")


def _check_space(url: str, part: Path, done: int, total: int | None) -> None:
    if total is None:
        return
    if total > MAX_BYTES:
        raise DownloadError(f"{url} is refused, because it has {total:,} bytes, more than {MAX_BYTES:,}.")
    free = shutil.disk_usage(part.parent).free
    if total - done > free:
        raise DownloadError(f"{url} needs {total - done:,} more bytes, but {part.parent} has {free:,} bytes free.")


def _write(
    request: Request, url: str, part: Path, done: int, total: int | None, timeout: float, progress: Progress
) -> None:
    with open(part, "ab") as sink:
        progress(done, total)
        while piece := _next(request, done, total, timeout):
            sink.write(piece)
            done += len(piece)
            if done > MAX_BYTES:
                raise DownloadError(f"{url} is refused, because it has more than {MAX_BYTES:,} bytes.")
            progress(done, total)
    if total is not None and done != total:  # urllib3 before 2 raises no error for a short body
        raise _interrupted(done, total)


def _next(request: Request, done: int, total: int | None, timeout: float) -> bytes:
    """Returns the next piece of a body, empty at the end."""
    try:
        return request.piece(PIECE_TIMEOUTS * timeout)
    except urllib3.exceptions.ProtocolError as error:
        raise _interrupted(done, total) from error


def _interrupted(done: int, total: int | None) -> _TemporaryFailure:
    return _TemporaryFailure(f"the body ended after {done:,}{'' if total is None else f' of {total:,}'} bytes")


def _validator(response: requests.Response) -> str | None:
    """Returns a value for ``If-Range``: a strong entity tag, or else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version_of(part: Path) -> _Version | None:
    try:
        version = _Version(**read_json(_version_file(part)))
    except (OSError, ValueError, TypeError):
        return None
    fits = isinstance(version.validator, str | None) and type(version.total) in (int, type(None))
    return version if fits else None


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
