"""Output files that are written whole or not at all, and the sha256 of a file."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from checkpoints.errors import CheckpointError, CheckpointNotFound
from checkpoints.inputs import check_regular

MAX_NAME = 255
"""Bytes of the longest name of a file on the usual file systems."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        CheckpointError: the folder does not exist or is not writable, `path` is a folder, the disk is full, or the
            block wrote nothing.

    Example:
        with checkpoints.replacing("notes.txt") as temporary:
            temporary.write_text("complete")
    """
    with replacing_all([Path(path)]) as temporaries:
        yield temporaries[0]


@contextlib.contextmanager
def replacing_all(paths: Sequence[Path], check: Callable[[], object] = lambda: None) -> Iterator[list[Path]]:
    """As `replacing`, for files of one folder that belong together: they are moved in their order, under one lock.

    No other process moves files of this package into the folder in between, so two that write the same files do not
    mix them.

    Args:
        paths: the final paths.
        check: called under the lock before the first move. It raises an error if the files must not be moved, for
            example because another process has written them since.
    """
    for path in paths:
        _check_target(path)
    temporaries = [_temporary(path) for path in paths]
    try:
        with _full_disk_as_sentence(paths[-1]):
            yield temporaries
        for path, temporary in zip(paths, temporaries, strict=True):
            if not temporary.exists():
                raise CheckpointError(f"{path} was not written, because its writer left no file.")
        with locked_folder(paths[0].parent):
            check()
            for path, temporary in zip(paths, temporaries, strict=True):
                os.replace(temporary, path)
    finally:
        for temporary in temporaries:
            _remove(temporary)


def _check_target(path: Path) -> None:
    if not path.parent.is_dir():
        raise CheckpointNotFound(f"{path} cannot be written, because the folder {path.parent} does not exist.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CheckpointError(f"{path} cannot be written, because the folder {path.parent} is not writable.")
    check_name(path)
    if path.is_dir():
        raise CheckpointError(f"{path} cannot be written, because it is an existing folder.")


def check_name(path: Path) -> None:
    """Refuses a name that is too long for a file.

    Raises:
        CheckpointError: the name has more than 255 bytes.
    """
    if (size := len(os.fsencode(path.name))) > MAX_NAME:
        raise CheckpointError(f"{path} cannot be written, because its name has {size} bytes, more than {MAX_NAME}.")


def _temporary(path: Path) -> Path:
    """Returns a hidden name in the same folder with the same suffix, shortened where it would be too long."""
    start, suffix = f".{secrets.token_hex(4)}-", path.suffix
    return path.with_name(start + _cut(path.name.removesuffix(suffix), len(start) + len(os.fsencode(suffix))) + suffix)


def _cut(name: str, more: int) -> str:
    """Returns the beginning of a name that leaves room for so many more bytes."""
    return os.fsencode(name)[: MAX_NAME - more].decode(sys.getfilesystemencoding(), "ignore")


@contextlib.contextmanager
def _full_disk_as_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise CheckpointError(f"{path} was not written: {os.strerror(error.errno)}.") from error
        raise


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Makes other processes that move files into a folder wait until the block ends.

    The operating system locks the folder itself: no file is left, and the lock ends with the process. Where it cannot
    (Windows, some network file systems), the block runs without a lock.
    """
    with contextlib.ExitStack() as resources:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            resources.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def staged(path: str | os.PathLike[str], check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Yields a path in a temporary folder, and moves everything in that folder next to `path` if the block succeeds.

    This is for outputs that are folders or several files, and replaces existing ones; `replacing` is for one file.
    After an exception existing outputs are unchanged and the temporary folder is removed.

    Of several files an existing `path` is removed first and the new one is moved last. So `path` never stands next to
    files of another run, also if the process is killed in between.

    Args:
        path: the final path. Other files that the block writes next to the temporary path keep their names.
        check: called under a lock before the first move, as in `replacing_all`.

    Yields:
        A path with the same name in an empty folder.

    Example:
        with checkpoints.staged("model.xml") as temporary:
            temporary.write_text("<net/>")
            temporary.with_suffix(".bin").write_bytes(weights)
    """
    path = Path(path)
    check_name(path)
    with tempfile.TemporaryDirectory(prefix=".", suffix=f"-{_cut(path.name, 10)}", dir=path.parent) as folder:
        with _full_disk_as_sentence(path):
            yield Path(folder) / path.name
        outputs = sorted(Path(folder).iterdir(), key=lambda output: output.name == path.name)
        with locked_folder(path.parent):
            check()
            if len(outputs) > 1 and path.exists():
                os.replace(path, Path(folder) / ".first")
            for output in outputs:
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
    check_regular(path)
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
