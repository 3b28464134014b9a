"""What goes wrong with files of variables."""


class CheckpointError(ValueError):
    """A file of variables cannot be read or written; the message is one sentence that names the file."""


class CheckpointNotFound(CheckpointError, FileNotFoundError):
    """There is nothing under the path that was given."""


class DownloadError(CheckpointError):
    """A file cannot be fetched; the message is one sentence that names the URL or the file in the cache."""
