"""The folder of the parts of a job: one process at a time works in it."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

import filelock

from checkpoints.files import locked_folder


@contextlib.contextmanager
def locked_parts(parts: pathlib.Path, output: pathlib.Path) -> Iterator[None]:
    """Keeps other processes away from the folder of the parts, which is created.

    The folder is created and removed under a lock of the folder around it, so that nobody locks a removed one.
    """
    lock = filelock.FileLock(parts / "lock")
    with locked_folder(output.parent):
        parts.mkdir(exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueError(f"Another process is writing {output}.") from error
    try:
        yield
    finally:
        with locked_folder(output.parent):
            if [file.name for file in parts.glob("*")] == ["lock"]:  # nothing was begun
                shutil.rmtree(parts, ignore_errors=True)
            lock.release()


def remove_parts(parts: pathlib.Path) -> None:
    """Removes the folder, under the same lock."""
    with locked_folder(parts.parent):
        shutil.rmtree(parts, ignore_errors=True)
