"""Repositories of the Hugging Face Hub, through the package `huggingface_hub` (an optional dependency)."""

import os
import re
from pathlib import Path

from checkpoints.download import offline
from checkpoints.errors import DownloadError, reason
from checkpoints.reach import unreachable

SCHEME = "hf://"
PATTERNS = ["config.json", "preprocessor_config.json", "*.safetensors", "pytorch_model.bin"]


def download(name: str) -> Path:
    """Returns the folder of a repository, which huggingface_hub keeps in a cache of its own.

    Without a connection, or with ``MOBILENETS_OFFLINE=1``, only that cache is read.

    Args:
        name: ``hf://owner/name``, or ``hf://owner/name@revision``.

    Raises:
        DownloadError: the name has another form, huggingface_hub is not installed, or the repository cannot be fetched.
    """
    match = re.fullmatch(rf"{SCHEME}([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?", name)
    if match is None:
        raise DownloadError(f"{name} is not a repository of the Hugging Face Hub; expected hf://owner/name.")
    try:
        import huggingface_hub
    except ImportError:
        raise DownloadError(
            f'{name} needs the package huggingface_hub: pip install "mobilenets[huggingface]" installs it.'
        ) from None
    site = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    why = "MOBILENETS_OFFLINE is set" if offline() else unreachable([site]).get(site)
    try:
        folder = huggingface_hub.snapshot_download(
            match[1], revision=match[2], allow_patterns=PATTERNS, local_files_only=why is not None
        )
    except Exception as error:  # huggingface_hub passes on errors of several libraries
        raise DownloadError(f"{name} cannot be fetched: {why or reason(error)}.") from error
    return Path(folder)
