"""Published models by name, where otherwise a file is named."""

import os
from pathlib import Path

import checkpoints
import mobilenets


def source_of(name_or_path: str | os.PathLike, progress=lambda done, total: None) -> str | os.PathLike:
    """Return the archive of a published model, downloaded on first use, or else the argument as it is.

    A file, a folder or a checkpoint (by its prefix) that exists goes before a model of the same name.

    Args:
        name_or_path: A published model, by its name, its archive's name or a hub handle; or anything else that
            `checkpoints.open_variables` takes.
        progress: Called with the bytes that are there and the bytes of the whole archive; see `checkpoints.fetch`.

    Raises:
        checkpoints.DownloadError: The archive cannot be fetched.
    """
    path = Path(name_or_path)
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return name_or_path
    try:
        info = mobilenets.get_model_info(str(name_or_path))
    except ValueError:
        return name_or_path
    return checkpoints.fetch(info.checkpoint_url, progress=progress)
