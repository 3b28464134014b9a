"""Errors of reading, writing and downloading files of variables."""

from checkpoints.plain_text import shown


class CheckpointError(ValueError):
    """A file of variables cannot be read or written; the message is one sentence that names the file.

    Names from outside are in it with their control characters escaped, and URLs without their secrets.
    """

    def __str__(self) -> str:
        return shown(super().__str__())


class CheckpointNotFound(CheckpointError, FileNotFoundError):
    """The path does not exist."""


class DownloadError(CheckpointError):
    """A file cannot be downloaded; the message names the URL or the file in the cache.

    Where several sources were asked, it has a line for each.
    """


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message without its full stop, to be part of a sentence.

    An error without a message is described by the name of its type.

    Example:
        >>> checkpoints.reason(OSError("No space left.\\nWrote 5 bytes."))
        'No space left'
    """
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
