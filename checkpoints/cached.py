"""What the cache holds: lists, verifies and removes it."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from checkpoints import cache as store
from checkpoints import files
from checkpoints.archives import pinned
from checkpoints.errors import CheckpointError, DownloadError, reason
from checkpoints.hub_handles import module_path

PINNED, FIRST_USE, UNKNOWN, CHANGED = "pinned", "trusted on first use", "without record", "changed"


class Cached(NamedTuple):
    """A file in the cache.

    Attributes:
        name: the published model whose archive it is, or else the name of the file.
        path: where it is.
        bytes: its size.
        origin: the URL or path that it came from, None if it has no record.
        sha256: its recorded sha256, or the real one where it was verified.
        state: "pinned", "trusted on first use", "without record" or "changed".
    """

    name: str
    path: Path
    bytes: int
    origin: str | None
    sha256: str | None
    state: str


def cached_files(cache: str | os.PathLike[str] | None = None, *, verify: bool = False) -> list[Cached]:
    """Returns the files in the cache, sorted by name.

    Args:
        cache: the folder; see `checkpoints.cache_folder`.
        verify: whether to compute the sha256 of each file and compare it with the recorded one, which takes longer.

    Example:
        for file in checkpoints.cached_files():
            print(file.name, file.bytes, file.origin, file.state)
    """
    folder = store.cache_folder(cache)
    files = [
        _cached(file, verify)
        for place in (folder.iterdir() if folder.is_dir() else ())
        if re.fullmatch(r"[0-9a-f]{16}", place.name) and place.is_dir()
        for file in place.iterdir()
        if file.is_file() and not re.search(r"\.(lock|part|part\.json)$|^\.", file.name) and not _is_record(file)
    ]
    return sorted(files)


def remove_cached(names: Iterable[str], cache: str | os.PathLike[str] | None = None) -> list[Path]:
    """Removes files from the cache, with what belongs to them, and returns their paths.

    Args:
        names: names of models or files, or paths, as `cached_files` lists them.
        cache: the folder; see `checkpoints.cache_folder`.

    Raises:
        DownloadError: a name is not in the cache (then nothing is removed), or a file cannot be removed.
    """
    present = cached_files(cache)
    selection: dict[Path, None] = {}
    for name in names:
        matches = [file.path for file in present if name in (file.name, file.path.name, str(file.path))]
        if not matches:
            known = ", ".join(dict.fromkeys(file.name for file in present)) or "nothing"
            raise DownloadError(f"{name} is not in the cache {store.cache_folder(cache)}, which has {known}.")
        selection |= dict.fromkeys(matches)
    for path in selection:
        _remove(path)
    return list(selection)


def _remove(file: Path) -> None:
    try:
        with store.locked(file):
            store.record(file).unlink(missing_ok=True)
            for path in (file, *file.parent.glob("*.part*")):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{file} cannot be removed: {error.strerror or reason(error)}.") from error


def _is_record(file: Path) -> bool:
    return file.suffix == ".json" and file.with_suffix("").exists()


def _cached(file: Path, verify: bool) -> Cached:
    try:
        facts = store.read_record(file) or {}
        digest = recorded = facts.get("sha256")
        if verify:
            digest = files.sha256(file)
        changed = recorded is not None and digest != recorded
    except CheckpointError:  # the record is damaged, or the file cannot be read
        facts, digest, changed = {}, None, True
    archive = pinned(digest) if digest else None
    if changed:
        state = CHANGED
    elif archive:
        state = PINNED
    else:
        state = FIRST_USE if facts else UNKNOWN
    size = file.stat().st_size
    origin = facts.get("url")
    name = archive.model if archive else module_path(_without_query(origin)) or file.name
    return Cached(name, file, size, origin, digest, state)


def _without_query(origin: str | None) -> str:
    """Returns the handle in the URL of a module's archive."""
    text = (origin or "").partition("?")[0].removesuffix(".tar.gz")
    return text[max(text.find("google/"), 0) :]
