"""TF-Hub modules on Kaggle, where tfhub.dev moved to, through the package `kagglehub` (an optional dependency)."""

import re
from pathlib import Path

from checkpoints.download import offline
from checkpoints.errors import DownloadError, reason

SITE = "https://www.kaggle.com/"


def handle(path: str) -> str | None:
    """Returns Kaggle's handle of a TF2 module, or None if it has none that follows the rule.

    Example:
        >>> handle("google/imagenet/mobilenet_v2_035_96/classification/5")
        'google/mobilenet-v2/tensorFlow2/035-96-classification/2'
    """
    match = re.fullmatch(r"google/(imagenet|tf2-preview)/([a-z]+_v\d)(?:_(\w+))?/(\w+)/(\d+)", path)
    if match is None:
        return None
    publisher, family, variant, head, version = match.groups()
    if publisher == "tf2-preview":
        variant, number = "tf2-preview", version
    else:
        number = {"4": "1", "5": "2"}.get(version, "")
    if not number:
        return None
    parts = [part.replace("_", "-") for part in (variant, head) if part]
    return f"google/{family.replace('_', '-')}/tensorFlow2/{'-'.join(parts)}/{number}"


def download(name: str, unreachable: str | None) -> Path:
    """Returns the folder of a module, which kagglehub keeps in a cache of its own.

    Args:
        name: Kaggle's handle.
        unreachable: why the site cannot be reached, if it cannot.

    Raises:
        DownloadError: kagglehub is not installed, Kaggle cannot be reached, or it does not have the module.
    """
    if offline():
        raise DownloadError("not asked, because MOBILENETS_OFFLINE is set")
    try:
        import kagglehub
    except ImportError:
        raise DownloadError("not asked, because the package kagglehub is not installed") from None
    if unreachable:
        raise DownloadError(unreachable)
    try:
        return Path(kagglehub.model_download(name))
    except Exception as error:  # kagglehub passes on errors of several libraries
        raise DownloadError(reason(error)) from error
