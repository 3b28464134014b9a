"""Brings archives that somebody has into the cache: those whose sha256 is pinned, under their own names."""

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from checkpoints import cache as store
from checkpoints import files
from checkpoints.archives import Archive, pinned
from checkpoints.errors import CheckpointError, CheckpointNotFound, DownloadError, reason

GZIP, ZIP, TAR = b"\x1f\x8b", b"PK\x03\x04", b"ustar"
TAR_OFFSET = 257


class Adopted(NamedTuple):
    """An archive in the cache: its model, its path, and the file that it was copied from."""

    model: str
    path: Path
    origin: Path


def adopt(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    models: Collection[str] | None = None,
    progress: Callable[[str], object] = lambda text: None,
) -> list[Adopted]:
    """Copies genuine archives of published models into the cache.

    Every regular file that begins like an archive is compared with the pinned sha256, whatever its name; links inside
    a folder are not followed. The copy is compared too before it gets its name.

    Args:
        path: a file, or a folder or disk, which is searched with all its folders.
        cache: the folder of the cache; see `checkpoints.cache_folder`.
        models: names of the models to adopt; None for all.
        progress: called with the path of each archive before it is read.

    Raises:
        DownloadError: there is no such archive, or the cache cannot be written.
        CheckpointNotFound: the path does not exist.

    Example:
        checkpoints.adopt("/media/disk")
    """
    root = Path(path)
    if not root.exists():
        raise CheckpointNotFound(f"{root} does not exist.")
    adopted: dict[str, Adopted] = {}
    seen = []
    for file in _archives(root):
        progress(str(file))
        try:
            archive = pinned(files.sha256(file))
        except CheckpointError:
            continue  # no permission to read it
        seen.append(file)
        if archive and archive.url not in adopted and (models is None or archive.model in models):
            adopted[archive.url] = _copied(file, archive, cache)
    if not adopted:
        what = "a published model" if models is None else " or ".join(models)
        raise DownloadError(
            f"{root} has no archive of {what}: none of the {len(seen)} archives in it has a pinned sha256 of one."
        )
    return list(adopted.values())


def _archives(root: Path) -> Iterator[Path]:
    """Yields the regular files that begin like a gzip, zip or tar file, in the order of their paths."""
    if not root.is_dir():
        if _is_archive(root, follow=True):
            yield root
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if _is_archive(file):
                yield file


def _is_archive(file: Path, follow: bool = False) -> bool:
    try:
        if not stat.S_ISREG(file.stat(follow_symlinks=follow).st_mode):
            return False
        with file.open("rb") as stream:
            start = stream.read(TAR_OFFSET + len(TAR))
    except OSError:
        return False
    return start.startswith((GZIP, ZIP)) or start[TAR_OFFSET:] == TAR


def _copied(file: Path, archive: Archive, cache: str | os.PathLike[str] | None) -> Adopted:
    target = store.path_of(archive.url, cache, archive.file)
    try:
        with store.locked(target):
            if not (store.is_recorded(target) and files.sha256(target) == archive.sha256):
                part = target.with_name(f"{target.name}.adopted.part")
                shutil.copyfile(file, part)
                digest = files.sha256(part)
                if digest != archive.sha256:  # the file changed, or the disk is full or damaged
                    part.unlink()
                    raise DownloadError(f"The copy of {file} has the sha256 {digest}, not {archive.sha256}.")
                store.keep(part, target, str(file.absolute()))
    except CheckpointError:
        raise
    except OSError as error:
        raise DownloadError(f"{file} cannot be copied to {target}: {error.strerror or reason(error)}.") from error
    return Adopted(archive.model, target, file)
