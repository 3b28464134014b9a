"""Files of object stores (``gs://``, ``s3://``, ``hdfs://``), copied to this machine through Beam's file systems."""

import contextlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from apache_beam.io.filesystems import FileSystems

from converters.images.embedding_files import Part
from converters.images.reasons import Broken

# Copies at once: they wait for the network, not for the processor.
COPIES = 16


def is_remote(path: str) -> bool:
    """Returns whether a path is a URL, not a file of this machine."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path, re.IGNORECASE) is not None


@contextlib.contextmanager
def local_copies(paths: Sequence[str]) -> Iterator[dict[str, str]]:
    """Copies remote files, and removes the copies at the end.

    Yields:
        For each path, once, where it can be read: ``{local path: path}``. A file that cannot be copied is missing
        there, so that reading it fails.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(COPIES) as pool:
        suffixes = (os.path.splitext(path)[1][:10] for path in paths)
        locals_ = [
            os.path.join(folder, f"{number}{suffix}") if is_remote(path) else path
            for number, (path, suffix) in enumerate(zip(paths, suffixes, strict=True))
        ]
        remote = [(path, local) for path, local in zip(paths, locals_, strict=True) if path != local]
        list(pool.map(lambda pair: copy(*pair), remote))
        yield dict(zip(locals_, paths, strict=True))


def copy(url: str, path: str) -> None:
    """Copies a file; if it fails, writes the reason to ``<path>.failed``."""
    try:
        with FileSystems.open(url) as source, open(path, "wb") as target:
            while block := source.read(2**20):
                target.write(block)
    except Exception as error:  # Of the store's own client, of any type.
        pathlib.Path(path).unlink(missing_ok=True)
        pathlib.Path(f"{path}.failed").write_text(f"{type(error).__name__}: {error}")


def renamed(part: Part, names: dict[str, str]) -> Part:
    """Returns a part with the paths that the user gave in place of those of the copies."""
    broken = []
    for entry in part.broken:
        name = names[entry.path]
        failed = pathlib.Path(f"{entry.path}.failed")
        reason = entry.reason.replace(entry.path, name)
        if name != entry.path and failed.exists():
            reason = f"{name} cannot be read: {failed.read_text()}."
        broken.append(Broken(name, reason))
    return Part(tuple(names[path] for path in part.paths), part.features, tuple(broken))
