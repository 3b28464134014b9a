"""What a user names: a path, or a published model whose checkpoint is fetched. This is decided here only."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import checkpoints
import mobilenets
from converters.errors import ConversionError

if TYPE_CHECKING:
    import numpy as np

# What `checkpoints.open_variables` opens: a path, or `{slim variable name: array}`.
Variables = str | os.PathLike[str] | Mapping[str, "np.ndarray"]
Progress = Callable[[int, int | None], object]


@dataclass(frozen=True)
class Source:
    """A source of variables, as `find_source` found it.

    Attributes:
        path: what to open: a path, or ``{slim variable name: array}``.
        published: the name of the published model that the user named, whose archive was fetched; None for a path.
        fetched_from: the URL or path that the archive came from; None for a path.
        replaces: the name of the published archive that no source had, if `path` is something else in its place.
    """

    path: Variables
    published: str | None = None
    fetched_from: str | None = None
    replaces: str | None = None

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[None]:
        """Keeps an archive unpacked within the block, where it is read more than once."""
        with contextlib.ExitStack() as resources:
            if not isinstance(self.path, Mapping) and checkpoints.is_archive(Path(self.path)):
                resources.enter_context(checkpoints.unpacked(self.path))
            yield


def find_source(
    name_or_path: Variables | Source,
    progress: Progress = lambda done, total: None,
    allow_unpinned: bool = False,
) -> Source:
    """Finds what a user names, and fetches the archive of a published model on first use.

    An existing path wins over a published name.

    Args:
        name_or_path: a path that `checkpoints.open_variables` takes; arrays by name; a published model by its name,
            its archive's name or its hub handle; a hub module by its handle with "/classification" or
            "/feature_vector"; a repository of the Hugging Face Hub as "hf://owner/name"; or what this function
            returned.
        progress: called with the bytes received and the bytes of the whole archive; see `checkpoints.fetch`.
        allow_unpinned: whether to accept an archive with another sha256 than the pinned one.

    Raises:
        ConversionError: it begins like the name of a published model, but no such model and no such path exists.
        checkpoints.DownloadError: the archive cannot be fetched.

    Example:
        >>> converters.find_source("mobilenet_v1_025_128").published
        'mobilenet_v1_025_128'
    """
    from checkpoints.locate import graph_named_saved_model, saved_model

    if isinstance(name_or_path, Source):
        return name_or_path
    if isinstance(name_or_path, Mapping):
        return Source(name_or_path)
    path = Path(name_or_path)
    checkpoints.check_regular(path)
    # Of a SavedModel the folder is the source, of a frozen graph with that name the file.
    if located := saved_model(path) or graph_named_saved_model(path):
        return Source(name_or_path if located == path else located)
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return Source(name_or_path)
    if str(name_or_path).startswith("hf://"):
        file = checkpoints.fetched(str(name_or_path), progress=progress)
        return Source(file.path, fetched_from=file.origin)
    try:
        info = mobilenets.get_model_info(str(name_or_path))
    except ValueError as error:
        # The reader of variables could only say that the path does not exist.
        if re.fullmatch(r"(mobilenet|inception)_?v\d(\w|\.\d)*|https?://tfhub\.dev/.*", str(name_or_path)):
            raise ConversionError(f"{name_or_path} does not exist. {error}") from error
        return Source(name_or_path)
    module = mobilenets.module_path(str(name_or_path))
    file = checkpoints.fetched(module or info.name, progress=progress, allow_unpinned=allow_unpinned)
    archives = [archive.url.rpartition("/")[2] for archive in info.archives]
    return Source(file.path, info.name, file.origin, None if module or file.path.name in archives else archives[0])


def is_path(text: str) -> bool:
    """Returns whether a text is the path of a file or a folder, or the prefix of a checkpoint."""
    from checkpoints.locate import v1_file, v2_prefix

    path = Path(text)
    return path.exists() or bool(v2_prefix(path) or v1_file(path))


def check_there(text: str) -> None:
    """Refuses what is neither a path nor a name, without TensorFlow and without a download.

    Raises:
        ConversionError: it begins like the name of a published model, but there is no such model.
        FileNotFoundError: it is another text.
    """
    path = Path(text)
    if is_path(text) or text.startswith("hf://"):
        return
    if text.endswith(".keras"):
        raise FileNotFoundError(f"The model {text} does not exist.")
    try:
        mobilenets.get_model_info(text)
    except ValueError:
        find_source(text)
        checkpoints.open_variables(path).close()  # its error names similar files
