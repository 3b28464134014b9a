"""Handles of TF-Hub modules, and the URLs of their archives."""

import re

STORAGE = "https://storage.googleapis.com/tfhub-modules/"
"""The bucket that tfhub.dev served its modules from, each as ``<path of the handle>.tar.gz``."""
SITE = "https://tfhub.dev/"


def module_path(handle: str) -> str | None:
    """Returns the path of a handle, or None for another text.

    Example:
        >>> module_path("https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/classification/5")
        'google/imagenet/mobilenet_v2_035_96/classification/5'
    """
    path = r"google/(?:imagenet|tf2-preview)/\w+/(?:classification|feature_vector)/\d+"
    match = re.fullmatch(rf"(?:https?://tfhub\.dev/)?({path})/?", handle)
    return match[1] if match else None


def module_urls(path: str) -> tuple[str, ...]:
    """Returns the URLs of a module's archive: its storage, and the site (``tf-hub-format`` asks for the archive)."""
    return f"{STORAGE}{path}.tar.gz", f"{SITE}{path}?tf-hub-format=compressed"
