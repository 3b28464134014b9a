"""Repositories of the Hugging Face Hub, through the package `huggingface_hub` (an optional dependency)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from checkpoints.download import offline
from checkpoints.errors import DownloadError, reason
from checkpoints.reach import unreachable

SCHEME = "hf://"
PATTERNS = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model.bin"]
GOOGLES = {
    "mobilenet_v1_100_224": "google/mobilenet_v1_1.0_224",
    "mobilenet_v1_075_192": "google/mobilenet_v1_0.75_192",
    "mobilenet_v2_140_224": "google/mobilenet_v2_1.4_224",
    "mobilenet_v2_100_224": "google/mobilenet_v2_1.0_224",
    "mobilenet_v2_075_160": "google/mobilenet_v2_0.75_160",
    "mobilenet_v2_035_96": "google/mobilenet_v2_0.35_96",
}
"""``{published model: the repository with Google's folder of it for transformers}``, of all that there are."""


def site() -> str:
    """Returns the URL of the Hub: Hugging Face's, or what its variable ``HF_ENDPOINT`` sets."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def download(name: str, answers: Mapping[str, str] | None = None) -> Path:
    """Returns the folder of a repository, which huggingface_hub keeps in a cache of its own.

    Without a connection, or with ``MOBILENETS_OFFLINE=1``, only that cache is read.

    Args:
        name: ``hf://owner/name``, or ``hf://owner/name@revision``.
        answers: ``{URL: reason}`` of the sites that are known to take no connection; by default the site is tried.

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
    known = unreachable([site()]) if answers is None and not offline() else answers or {}
    why = "MOBILENETS_OFFLINE is set" if offline() else known.get(site())
    try:
        folder = huggingface_hub.snapshot_download(
            match[1], revision=match[2], allow_patterns=PATTERNS, local_files_only=why is not None
        )
    except Exception as error:  # huggingface_hub passes on errors of several libraries
        raise DownloadError(f"{name} cannot be fetched: {why or reason(error)}.") from error
    return Path(folder)
