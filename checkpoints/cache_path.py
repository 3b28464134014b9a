"""Where fetched files are kept. Apart from `checkpoints.cache`, so that a help text loads no library for downloads."""

import os
from pathlib import Path

CACHE_VARIABLE = "MOBILENETS_CACHE"


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Returns the folder in which `fetch` stores files.

    Args:
        cache: the folder; by default the environment variable ``MOBILENETS_CACHE``, or else ``mobilenets`` in the
            platform's cache folder.

    Example:
        print(checkpoints.cache_folder())
    """
    import platformdirs

    folder = cache or os.environ.get(CACHE_VARIABLE)
    return Path(folder) if folder else platformdirs.user_cache_path("mobilenets", appauthor=False)
