"""A cache of published archives: each comes once, whole, and with the bytes it had when it was first seen."""

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
from checkpoints.download import Progress, discard, download
from checkpoints.errors import CheckpointError, DownloadError
from checkpoints.archives import ARCHIVES

CACHE_VARIABLE = "MOBILENETS_CACHE"


def fetch(
    name_or_url: str,
    *,
    cache: str | os.PathLike | None = None,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
    tries: int = 5,
) -> Path:
    """Return the archive of a published model, or any other file under a URL, downloaded on first use.

    The file gets its name when all of it is there. Its sha256 is written beside it (``<file>.json``) when it is first
    seen, and compared ever after, with a later download of the same URL too. An archive compressed by gzip is
    read to its end first, so that no web page and no torn file is recorded in its place. Of several processes that
    want one file, one downloads it and the others wait.

    Args:
        name_or_url: A published model such as "mobilenet_v2_035_96", or an http or https URL.
        cache: The folder that keeps the files; else the environment variable ``MOBILENETS_CACHE`` names it; else it is
            ``mobilenets`` in the platform's folder for caches.
        sha256: The sha256 that the file must have, 64 hexadecimal digits.
        progress: Called with the bytes that are there and the bytes of the whole file (None: not known).
        timeout: Seconds to wait for a connection, and for each piece of the file.
        tries: How often in a row the download may fail for reasons that pass, such as a broken connection.

    Returns:
        The path of the file in the cache.

    Raises:
        DownloadError: No model is called so, the file cannot be fetched or kept, or its bytes are not those expected.
    """
    url = _url_of(name_or_url)
    file = _place(url, cache)
    try:
        with contextlib.nullcontext() if _is_settled(file) else _only_one_process(file):
            if not file.exists():
                _bring(url, file, sha256, progress, timeout, tries)
            _check_kept(url, file, sha256)
    except CheckpointError:
        raise
    except OSError as error:
        raise DownloadError(f"{url} cannot be kept in {file.parent}: {error.strerror or error}.") from error
    return file


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """Return the folder that `fetch` keeps files in: the one given, or that of the environment, or the platform's."""
    chosen = cache or os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("mobilenets", appauthor=False)


def _url_of(name_or_url: str) -> str:
    url = ARCHIVES.get(name_or_url, name_or_url)
    if not re.fullmatch(r"https?://\S+", url):
        closest = ", ".join(difflib.get_close_matches(url, ARCHIVES, n=3, cutoff=0))
        raise DownloadError(f"{url!r} is neither a published model nor an http(s) URL; the closest are {closest}.")
    return url


def _place(url: str, cache: str | os.PathLike | None) -> Path:
    """The file of a URL: its own name, by which conversions know a model, in a folder that no other URL has."""
    last = PurePosixPath(unquote(re.split("[?#]", url)[0])).name
    name = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:].lstrip(".") or "file"
    return cache_folder(cache) / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _is_settled(file: Path) -> bool:
    """Whether nothing is left to write, so that even a cache that is read-only will do."""
    return file.exists() and _record(file).exists()


@contextlib.contextmanager
def _only_one_process(file: Path) -> Iterator[None]:
    # The operating system opens the lock when its process dies.
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(file.with_name(f"{file.name}.lock")):
        yield


def _bring(url: str, file: Path, sha256: str | None, progress: Progress, timeout: float, tries: int) -> None:
    part = file.with_name(f"{file.name}.part")
    download(url, part, timeout=timeout, tries=tries, progress=progress)
    try:
        if file.suffix in (".gz", ".tgz"):
            _check_gzip(url, part)
        _check_arrived(url, file, files.sha256(part), sha256)
    except CheckpointError:
        discard(part)
        raise
    os.replace(part, file)
    discard(part)


def _check_gzip(url: str, part: Path) -> None:
    try:
        with gzip.open(part) as stream:
            for _ in range(MAX_BYTES >> 20):  # one that unpacks to more is refused when it is opened
                if not stream.read(1 << 20):
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise DownloadError(f"{url} did not give a whole gzip file: {error}.") from error


def _check_arrived(url: str, file: Path, found: str, expected: str | None) -> None:
    if expected and found != expected.lower():
        raise DownloadError(f"{url} gives a file with the sha256 {found}, where {expected.lower()} is expected.")
    if found != (known := _recorded(file) or found):
        raise DownloadError(
            f"{url} gives a file with the sha256 {found}, but when it was first fetched that was {known}; "
            f"if you trust the new file, delete {_record(file)} and fetch again."
        )


def _check_kept(url: str, file: Path, expected: str | None) -> None:
    found = files.sha256(file)
    known = _recorded(file)
    if known is None:
        _write_record(url, file, found)
    elif found != known:
        raise DownloadError(
            f"{file} has changed since it was fetched: its sha256 is {found}, not {known}; "
            "delete it, and it will be fetched again."
        )
    if expected and found != expected.lower():
        raise DownloadError(f"{file} has the sha256 {found}, where {expected.lower()} is expected.")


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
