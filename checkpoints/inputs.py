"""Input files that are small or may be of any kind: read in bounded memory, and never waited for."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from checkpoints.errors import CheckpointError, reason

MAX_JSON = 2**26
"""Bytes of the largest JSON file that is read; the manifest of the largest network has a few hundred thousand."""
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


# What a file gives may take this many times the size of the file, and these bytes more: weights hardly compress.
EXPANSION, EXTRA_BYTES = 16, 2**26


def allowance(size: int) -> int:
    """Returns how many bytes a file of a size may take in memory, or on the disk once it is unpacked."""
    return EXPANSION * size + EXTRA_BYTES


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuses a pipe, a device or a socket, which may never end. Folders and paths that do not exist pass.

    Raises:
        CheckpointError: the path is none of a file.

    Example:
        >>> check_regular("/dev/zero")
        Traceback (most recent call last):
        checkpoints.errors.CheckpointError: /dev/zero is not read, because it is a device; give a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # what opens the path says why it cannot be read
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise CheckpointError(f"{os.fspath(path)} is not read, because it is {kind}; give a regular file.")


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

    Raises:
        CheckpointError: the file is larger, or is a pipe, a device or a socket.
        OSError: the file cannot be read.
    """
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            is_large = os.fstat(stream.fileno()).st_size > most
            content = b"" if is_large else stream.read(most + 1)
    except ValueError as error:  # a path with a zero byte
        raise CheckpointError(f"{os.fspath(path)} cannot be read: {reason(error)}.") from error
    if is_large or len(content) > most:  # it may grow while it is read
        raise CheckpointError(f"{os.fspath(path)} is not read, because it has more than {most:,} bytes.")
    return content


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns the content of a JSON file.

    Raises:
        CheckpointError: the file is no JSON in UTF-8, is nested too deeply, or is too large.
        OSError: the file cannot be read.
    """
    return parse_json(read_bounded(path, MAX_JSON), path)


def parse_json(content: str | bytes, path: str | os.PathLike[str]) -> Any:
    """Returns the value of a JSON text, which is a part of the file that is named in the error.

    Raises:
        CheckpointError: the text is no JSON in UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise CheckpointError(f"{Path(path)} is damaged: its JSON is nested too deeply.") from None
    except ValueError as error:
        raise CheckpointError(f"{Path(path)} is damaged: it is not JSON ({reason(error)}).") from error
