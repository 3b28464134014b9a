"""One URL into one file, however often the connection breaks.

`requests` speaks HTTP: certificates, proxies, redirects, timeouts. What it leaves to its caller stands here: to go on
where a body broke off (RFC 9110, section 14), and to try again.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import requests
import urllib3

from checkpoints.archive import MAX_BYTES
from checkpoints.errors import DownloadError
from checkpoints.files import replacing

PIECE = 1 << 16
MAX_REDIRECTS = 10
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers that may be another one a moment later."""

Progress = Callable[[int, int | None], object]


class _TryAgain(Exception):
    """What went wrong may go well the next time, at the earliest after so many seconds."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class _Version(NamedTuple):
    """Which version of the file the first bytes belong to: a strong validator (or None), and its length if known."""

    validator: str | None
    total: int | None


def download(
    url: str, part: Path, *, timeout: float = 30.0, tries: int = 5, progress: Progress = lambda done, total: None
) -> None:
    """Bring the bytes under a URL into a file, from where an earlier call broke off.

    A file ``<part>.json`` beside it tells which version of the remote file the bytes belong to. The rest is asked for
    on the condition that this version is still there; where it is not, or the server knows no ranges, all is sent
    anew.

    Args:
        url: http or https.
        part: The file; it is whole when the function returns, and whatever came when the function raises.
        timeout: Seconds to wait for a connection, and for each piece of the body.
        tries: How often in a row may fail (no connection, a timeout, a broken body, status 408, 425, 429 or 500 to
            504) without a further 64 KiB of the file. The waits between them double, from half a second to 30; a
            server that names a time (``Retry-After``) is waited for as long, but no longer than 30 seconds.
        progress: Called with the bytes that are there and the bytes of the whole file (None: not known).

    Raises:
        DownloadError: All tries failed, the answer is an error that will stay (such as 404), or the disk has not
            enough space.
        OSError: The file cannot be written.
    """
    most, failures = _size(part), 0
    while True:
        try:
            return _attempt(url, part, timeout, progress)
        except _TryAgain as failure:
            size = _size(part)
            failures = 1 if size >= most + PIECE else failures + 1
            most = max(most, size)
            if failures >= tries:
                raise DownloadError(f"{url} could not be fetched (tries: {tries}): {failure}.") from failure
            time.sleep(min(max(failure.wait, FIRST_WAIT * 2 ** (failures - 1)), LONGEST_WAIT))


def discard(part: Path) -> None:
    """Remove an unfinished download."""
    part.unlink(missing_ok=True)  # first: bytes whose version is unknown are never gone on from
    _version_file(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, timeout: float, progress: Progress) -> None:
    version = _version_of(part)
    if version is None:
        discard(part)
    done = _size(part)
    if version and done == version.total:
        return
    # Archives are wanted as they lie on the server, not compressed once more on the way.
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": version.validator}
    with _failures_sorted(url, timeout), _get(url, headers, timeout) as response:
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and done:
            _check_range(response, done, version, part)
        elif response.status_code == HTTPStatus.OK:
            done, version = 0, _start_anew(response, part)
        else:
            _refuse(response, url, part)
        _check_space(url, part, done, version.total)
        _write(response, url, part, done, version.total, progress)


@contextlib.contextmanager
def _get(url: str, headers: dict[str, str], timeout: float) -> Iterator[requests.Response]:
    # A session for each try: none meets a connection that the server has closed in the meantime.
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            yield response


@contextlib.contextmanager
def _failures_sorted(url: str, timeout: float) -> Iterator[None]:
    """Tell failures that pass from those that stay."""
    try:
        yield
    except DownloadError:
        raise
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url} cannot be trusted: {_cause(error)}.") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _TryAgain(f"the server was silent for {timeout:g} seconds") from error
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        raise _TryAgain(f"the connection failed ({_cause(error)})") from error
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to what is no URL
        raise DownloadError(f"{url} cannot be fetched: {str(error).rstrip('.')}.") from error


def _cause(error: BaseException) -> str:
    """What the operating system said, which requests and urllib3 wrap several times."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)


def _check_range(response: requests.Response, start: int, version: _Version, part: Path) -> None:
    """Check that an answer with a part of the file fits the bytes that are there."""
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    fits = (
        given is not None
        and int(given[1]) == start
        and given[2] in ("*", str(version.total))
        and _validator(response) in (None, version.validator)
    )
    if not fits:
        discard(part)
        raise _TryAgain("the server sent another part than the one asked for")


def _start_anew(response: requests.Response, part: Path) -> _Version:
    discard(part)
    # What HTTP says of the length, of chunks and of encodings is known to urllib3.
    version = _Version(_validator(response), response.raw.length_remaining)
    if version.validator is not None:
        with replacing(_version_file(part)) as file:
            file.write_text(json.dumps(version._asdict()))
    return version


def _refuse(response: requests.Response, url: str, part: Path) -> None:
    said = f"{response.status_code} {response.reason}".strip()
    if response.status_code in PASSING:
        wait = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _TryAgain(f"the server answered {said}", wait)
    if response.status_code in (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.PARTIAL_CONTENT):
        discard(part)
        raise _TryAgain(f"the server answered {said}")
    raise DownloadError(f"{url} cannot be fetched: the server answered {said}.")


def _check_space(url: str, part: Path, done: int, total: int | None) -> None:
    if total is None:
        return
    if total > MAX_BYTES:
        raise DownloadError(f"{url} is refused, because it takes {total:,} bytes, more than {MAX_BYTES:,}.")
    free = shutil.disk_usage(part.parent).free
    if total - done > free:
        raise DownloadError(f"{url} takes {total - done:,} bytes more, but {part.parent} has {free:,} bytes free.")


def _write(response: requests.Response, url: str, part: Path, done: int, total: int | None, progress: Progress) -> None:
    with open(part, "ab") as sink:
        progress(done, total)
        # Not `iter_content`, which would unpack a .tgz that a server calls "gzip-encoded".
        pieces = response.raw.stream(PIECE, decode_content=False)
        while piece := _next(pieces, done, total):
            sink.write(piece)
            done += len(piece)
            if done > MAX_BYTES:
                raise DownloadError(f"{url} is refused, because it sends more than {MAX_BYTES:,} bytes.")
            progress(done, total)
    if total is not None and done != total:  # urllib3 before 2 ends a short body without an error
        raise _broken_off(done, total)


def _next(pieces: Iterator[bytes], done: int, total: int | None) -> bytes:
    """The next piece of a body, or nothing at its end."""
    try:
        return next(pieces, b"")
    except urllib3.exceptions.ProtocolError as error:
        raise _broken_off(done, total) from error


def _broken_off(done: int, total: int | None) -> _TryAgain:
    return _TryAgain(f"the body ended after {done:,}{'' if total is None else f' of {total:,}'} bytes")


def _validator(response: requests.Response) -> str | None:
    """What ``If-Range`` takes: a strong entity tag, or else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version_of(part: Path) -> _Version | None:
    try:
        return _Version(**json.loads(_version_file(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
