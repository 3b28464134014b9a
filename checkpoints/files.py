"""Output files that are written whole or not at all, and the sha256 of a file."""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checkpoints.errors import CheckpointError, CheckpointNotFound


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path to write to, and moves the result to `path` if the block succeeds.

    The temporary path is in the same folder, which makes the move a single step, and has the same suffix, because
    writers such as Keras choose the format by it. After any exception, including an interrupt from the keyboard, the
    temporary file is removed and `path` is unchanged. A killed process leaves the temporary file behind, hidden as
    ``.<8 hexadecimal digits>-<name>``; it is never read.

    Args:
        path: the final path of a file, or of a folder that does not exist yet.

    Yields:
        A path at which nothing exists.

    Raises:
        CheckpointError: the folder does not exist or is not writable, `path` is a folder, or the block wrote nothing.

    Example:
        with checkpoints.replacing("notes.txt") as temporary:
            temporary.write_text("complete")
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


@contextlib.contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path in a temporary folder, and moves everything in that folder next to `path` if the block succeeds.

    This is for outputs that are folders or several files, and replaces existing ones; `replacing` is for one file.
    After an exception existing outputs are unchanged and the temporary folder is removed.

    Args:
        path: the final path. Other files that the block writes next to the temporary path keep their names.

    Yields:
        A path with the same name in an empty folder.

    Example:
        with checkpoints.staged("model.xml") as temporary:
            temporary.write_text("<net/>")
            temporary.with_suffix(".bin").write_bytes(weights)
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=".", suffix=f"-{path.name}", dir=path.parent) as folder:
        yield Path(folder) / path.name
        # In the order of names: OpenVINO's weights (.bin) are moved before the graph (.xml) that reads them.
        for output in sorted(Path(folder).iterdir()):
            final = path.with_name(output.name)
            if final.is_dir():
                # A folder cannot be replaced in one step: the old one is removed with the temporary folder.
                os.replace(final, Path(folder) / ".replaced")
            os.replace(output, final)


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the sha256 of a file as 64 hexadecimal digits.

    Raises:
        CheckpointNotFound: the file does not exist.
        CheckpointError: the file cannot be read.

    Example:
        assert checkpoints.sha256("mobilenet_v1_0.25_128.tgz") == expected
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
