"""A cache of downloaded files: each is downloaded once, and its sha256 is compared with the one first recorded."""

import contextlib
import difflib
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import filelock
import platformdirs

from checkpoints import files
from checkpoints.archive import MAX_BYTES
from checkpoints.archives import ARCHIVES
from checkpoints.download import Progress, discard, download
from checkpoints.errors import CheckpointError, DownloadError, reason

CACHE_VARIABLE = "MOBILENETS_CACHE"


def fetch(
    name_or_url: str,
    *,
    cache: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
    tries: int = 5,
) -> Path:
    """Returns the path of a published archive, or of another file, which is downloaded on first use.

    A file gets its final name when it is complete; an archive compressed by gzip is decompressed first, to detect
    error pages and incomplete files. Its sha256 is recorded in ``<file>.json`` and compared with later downloads and
    at every call. If several processes fetch the same file, one downloads it and the others wait.

    Args:
        name_or_url: a published model such as "mobilenet_v2_035_96", or an http or https URL.
        cache: the folder for the files; by default the environment variable ``MOBILENETS_CACHE``, or else
            ``mobilenets`` in the platform's cache folder.
        sha256: the expected sha256 of the file, 64 hexadecimal digits.
        progress: called with the number of bytes received and the length of the file, None if unknown.
        timeout: seconds to wait for a connection and for each piece of the file.
        tries: number of successive temporary failures, such as a broken connection, after which to give up.

    Raises:
        DownloadError: the name is unknown, the file cannot be downloaded or stored, or its sha256 is not the expected
            or the recorded one.

    Example:
        path = checkpoints.fetch("mobilenet_v2_035_96")
    """
    url = _url_of(name_or_url)
    file = _path_of(url, cache)
    try:
        with contextlib.nullcontext() if _is_recorded(file) else _locked(file):
            if not file.exists():
                _download(url, file, sha256, progress, timeout, tries)
            _check_cached(url, file, sha256)
    except CheckpointError:
        raise
    except OSError as error:
        raise DownloadError(f"{url} cannot be stored in {file.parent}: {error.strerror or reason(error)}.") from error
    return file


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Returns the folder in which `fetch` stores files.

    Args:
        cache: the folder; by default the environment variable ``MOBILENETS_CACHE``, or else ``mobilenets`` in the
            platform's cache folder.

    Example:
        print(checkpoints.cache_folder())
    """
    folder = cache or os.environ.get(CACHE_VARIABLE)
    return Path(folder) if folder else platformdirs.user_cache_path("mobilenets", appauthor=False)


def _url_of(name_or_url: str) -> str:
    url = ARCHIVES.get(name_or_url, name_or_url)
    if not re.fullmatch(r"https?://\S+", url):
        closest = ", ".join(difflib.get_close_matches(url, ARCHIVES, n=3, cutoff=0))
        raise DownloadError(f"{url!r} is neither a published model nor an http(s) URL; the closest are {closest}.")
    return url


def _path_of(url: str, cache: str | os.PathLike[str] | None) -> Path:
    """Returns the path of a URL's file: its own name, which may identify a model, in a folder of this URL alone."""
    last = PurePosixPath(unquote(re.split("[?#]", url)[0])).name
    name = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:].lstrip(".") or "file"
    return cache_folder(cache) / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _is_recorded(file: Path) -> bool:
    """Whether the file and its record exist; then nothing is written, and the cache may be read-only."""
    return file.exists() and _record(file).exists()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    # The operating system releases the lock when its process dies.
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(file.with_name(f"{file.name}.lock")):
        yield


def _download(url: str, file: Path, sha256: str | None, progress: Progress, timeout: float, tries: int) -> None:
    part = file.with_name(f"{file.name}.part")
    download(url, part, timeout=timeout, tries=tries, progress=progress)
    try:
        if file.suffix in (".gz", ".tgz"):
            _check_gzip(url, part)
        _check_new(url, file, files.sha256(part), sha256)
    except CheckpointError:
        discard(part)
        raise
    os.replace(part, file)
    discard(part)


def _check_gzip(url: str, part: Path) -> None:
    try:
        with gzip.open(part) as stream:
            for _ in range(MAX_BYTES >> 20):  # a larger one is refused when it is opened
                if not stream.read(1 << 20):
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise DownloadError(f"{url} is not a complete gzip file: {reason(error)}.") from error


def _check_new(url: str, file: Path, digest: str, expected: str | None) -> None:
    if expected and digest != expected.lower():
        raise DownloadError(f"{url} has the sha256 {digest}, but {expected.lower()} is expected.")
    recorded = _recorded(file)
    if recorded and digest != recorded:
        raise DownloadError(
            f"{url} has the sha256 {digest}, but it was {recorded} when it was first fetched; "
            f"if you trust the new file, delete {_record(file)} and fetch again."
        )


def _check_cached(url: str, file: Path, expected: str | None) -> None:
    digest = files.sha256(file)
    recorded = _recorded(file)
    if recorded is None:
        _write_record(url, file, digest)
    elif digest != recorded:
        raise DownloadError(
            f"{file} has changed since it was fetched: its sha256 is {digest}, not {recorded}; "
            "delete it and fetch again."
        )
    if expected and digest != expected.lower():
        raise DownloadError(f"{file} has the sha256 {digest}, but {expected.lower()} is expected.")


def _recorded(file: Path) -> str | None:
    record = _record(file)
    if not record.exists():
        return None
    try:
        return json.loads(record.read_text())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{record} is not the record of a download; delete it and fetch again.") from error


def _write_record(url: str, file: Path, digest: str) -> None:
    first_seen = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {"url": url, "sha256": digest, "bytes": file.stat().st_size, "first_seen": first_seen}
    with files.replacing(_record(file)) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
