"""Files in general: written whole or not at all, and known by their sha256."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from checkpoints.errors import CheckpointError, CheckpointNotFound


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, and move what was written to `path` when all went well.

    The temporary path lies in the same folder, so that the move is one step, and ends like `path`, because
    writers such as Keras judge by the suffix. After any exception, an interrupt from the keyboard included,
    the temporary file is gone and `path` is as it was.
    A process that is killed leaves it, hidden as ``.<8 hexadecimal digits>-<name>``; nothing ever reads it.

    Args:
        path: The final path of a file, or of a folder that does not exist yet.

    Yields:
        A path beside `path` at which nothing exists.

    Raises:
        CheckpointError: The folder does not exist or cannot be written, `path` is a folder, or the body of the
            ``with`` wrote nothing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise CheckpointNotFound(f"{path} cannot be written, because the folder {path.parent} does not exist.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CheckpointError(f"{path} cannot be written, because the folder {path.parent} is not writable.")
    if path.is_dir():
        raise CheckpointError(f"{path} cannot be written, because it is an existing folder.")
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        if not temporary.exists():
            raise CheckpointError(f"{path} was not written, because its writer left no file.")
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(path: str | os.PathLike) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits, read in pieces.

    Raises:
        CheckpointNotFound: There is no such file.
        CheckpointError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except FileNotFoundError:
        raise CheckpointNotFound(f"{path} does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()
