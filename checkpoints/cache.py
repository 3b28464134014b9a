"""The folder of downloaded files: each is downloaded once, and its sha256 is compared with the one first recorded."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import filelock

from checkpoints import files
from checkpoints.archive import MAX_BYTES
from checkpoints.cache_path import cache_folder
from checkpoints.download import Progress, discard, download
from checkpoints.errors import CheckpointError, DownloadError, reason
from checkpoints.inputs import read_json
from checkpoints.plain_text import public_url, without_login


def fetch_url(
    url: str,
    cache: str | os.PathLike[str] | None,
    sha256: str | None,
    progress: Progress,
    timeout: float,
    tries: int,
) -> Path:
    """Returns the path of a URL's file, which is downloaded on first use; see `checkpoints.fetch`."""
    file = path_of(url, cache)
    try:
        with contextlib.nullcontext() if is_recorded(file) else locked(file):
            if not file.exists():
                _download(url, file, sha256, progress, timeout, tries)
            _check_cached(url, file, sha256)
    except CheckpointError:
        raise
    except OSError as error:
        raise DownloadError(f"{url} cannot be stored in {file.parent}: {error.strerror or reason(error)}.") from error
    return file


def path_of(url: str, cache: str | os.PathLike[str] | None, file: str | None = None) -> Path:
    """Returns the path of a URL's file: its own name, which may identify a model, in a folder of this URL alone.

    Args:
        file: another name for the file.
    """
    url = without_login(url)
    last = file or PurePosixPath(unquote(re.split("[?#]", url)[0])).name
    name = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:].lstrip(".") or "file"
    return cache_folder(cache) / short_digest(url) / name


def short_digest(text: str) -> str:
    """Returns 16 hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def origin(file: Path) -> str | None:
    """Returns the URL or path that a file in the cache came from, None if it has no record."""
    facts = read_record(file)
    return str(facts["url"]) if facts and "url" in facts else None


def keep(part: Path, file: Path, source: str) -> None:
    """Moves a complete and checked file to its path in the cache, and records where it came from."""
    digest = files.sha256(part)
    file.parent.mkdir(parents=True, exist_ok=True)
    record(file).unlink(missing_ok=True)  # first: the new file never stands next to the record of another
    os.replace(part, file)
    discard(part)
    write_record(source, file, digest)


def record(file: Path) -> Path:
    """Returns the path of a file's record."""
    return file.with_name(f"{file.name}.json")


def is_recorded(file: Path) -> bool:
    """Returns whether the file and its record exist; then nothing is written, and the cache may be read-only."""
    return file.exists() and record(file).exists()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Makes other processes that want the same file wait until the block ends."""
    # The operating system releases the lock when its process dies.
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(file.with_name(f"{file.name}.lock")):
        yield


def _download(url: str, file: Path, sha256: str | None, progress: Progress, timeout: float, tries: int) -> None:
    part = file.with_name(f"{file.name}.part")
    download(url, part, timeout=timeout, tries=tries, progress=progress)
    try:
        check_complete(url, part)
        _check_new(url, file, files.sha256(part), sha256)
    except CheckpointError:
        discard(part)
        raise
    os.replace(part, file)
    discard(part)


def check_complete(url: str, part: Path, gzipped: bool | None = None) -> None:
    """Refuses a file that is empty, or that gzip cannot decompress to its end.

    Args:
        url: where it comes from.
        part: the file.
        gzipped: whether it is compressed by gzip; by default if the URL says so.
    """
    if not part.stat().st_size:
        raise DownloadError(f"{url} is empty.")
    if gzipped is None:
        gzipped = PurePosixPath(re.split("[?#]", url)[0]).suffix in (".gz", ".tgz")
    if not gzipped:
        return
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
    check_recorded(file, url, digest)


def _check_cached(url: str, file: Path, expected: str | None) -> None:
    digest = files.sha256(file)
    first = recorded(file)
    if first is None:
        write_record(url, file, digest)
    elif digest != first:
        raise DownloadError(
            f"{file} has changed since it was fetched: its sha256 is {digest}, not {first}; delete it and fetch again."
        )
    if expected and digest != expected.lower():
        raise DownloadError(f"{file} has the sha256 {digest}, but {expected.lower()} is expected.")


def check_recorded(file: Path, new: str | Path, digest: str) -> None:
    """Refuses a new file with another sha256 than the first one of the same name in the cache."""
    first = recorded(file)
    if first and digest != first:
        raise DownloadError(
            f"{new} has the sha256 {digest}, but it was {first} when it was first fetched; "
            f"if you trust the new file, delete {record(file)} and fetch again."
        )


def recorded(file: Path) -> str | None:
    """Returns the recorded sha256 of a file in the cache, None if it has no record."""
    facts = read_record(file)
    return None if facts is None else facts["sha256"]


def read_record(file: Path) -> dict[str, Any] | None:
    """Returns what is recorded of a file in the cache: ``url``, ``sha256``, ``bytes``, ``first_seen``.

    Raises:
        DownloadError: the record is damaged.
    """
    path = record(file)
    if not path.exists():
        return None
    try:
        facts = read_json(path)
        if not re.fullmatch("[0-9a-f]{64}", facts["sha256"]) or not isinstance(facts.get("url", ""), str):
            raise TypeError("sha256 or url")
        return facts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(f"{path} is not the record of a download; delete it and fetch again.") from error


def write_record(url: str, file: Path, digest: str) -> None:
    """Records where a file in the cache came from, without the secrets in the URL, and its sha256."""
    first_seen = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {"url": public_url(url), "sha256": digest, "bytes": file.stat().st_size, "first_seen": first_seen}
    with files.replacing(record(file)) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
