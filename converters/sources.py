"""Published models by name, where otherwise a file is named."""

import os
import re
from pathlib import Path

import checkpoints
import mobilenets
from converters.errors import ConversionError


def source_of(name_or_path: str | os.PathLike, progress=lambda done, total: None) -> str | os.PathLike:
    """Return the archive of a published model, downloaded on first use, or else the argument as it is.

    A file, a folder or a checkpoint (by its prefix) that exists goes before a model of the same name. What does not
    exist and all but has the name of a published model is an error here, as its reader could tell nothing of names.

    Args:
        name_or_path: A published model, by its name, its archive's name or a hub handle; or anything else that
            `checkpoints.open_variables` takes.
        progress: Called with the bytes that are there and the bytes of the whole archive; see `checkpoints.fetch`.

    Raises:
        ConversionError: It is neither there nor published, though it begins like a published model.
        checkpoints.DownloadError: The archive cannot be fetched.
    """
    path = Path(name_or_path)
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return name_or_path
    try:
        info = mobilenets.get_model_info(str(name_or_path))
    except ValueError as error:
        if re.fullmatch(r"(mobilenet|inception)_?v\d\w*|https?://tfhub\.dev/.*", str(name_or_path)):
            raise ConversionError(f"{name_or_path} does not exist. {error}") from error
        return name_or_path
    return checkpoints.fetch(info.checkpoint_url, progress=progress)
