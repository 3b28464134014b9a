"""Graphs and LiteRT models in folders and archives: alone, as the source itself, or next to a checkpoint."""

import contextlib
import pathlib
from collections.abc import Iterator

import checkpoints
from checkpoints.locate import checkpoints_in, saved_model, v1_file, v2_prefix

_FILES_OF_VARIABLES = (".h5", ".hdf5", ".safetensors")


def is_hub_module(path: object) -> bool:
    """Returns whether ``path`` is the folder of a SavedModel that can be run here.

    Other SavedModels are sources of weights: those without variables, those of serving functions, renamed graphs.
    """
    from checkpoints.hub_module import PLAIN, saved_model_kind

    if not isinstance(path, str | pathlib.Path) or saved_model(pathlib.Path(path)) is None:
        return False
    folder = pathlib.Path(path)
    try:
        return folder.is_dir() and saved_model_kind(folder) != PLAIN
    except checkpoints.CheckpointError:
        return True  # opening it raises an error that names the damage


@contextlib.contextmanager
def folder_of(path: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Yields the folder, or the one that an archive is unpacked into; None for other files."""
    if path.is_dir():
        yield path
    elif checkpoints.is_archive(path):
        with checkpoints.unpacked(path) as folder:
            yield folder
    else:
        yield None


def sole_network(folder: pathlib.Path) -> pathlib.Path | None:
    """The one graph, or else the one LiteRT model, in a folder without a checkpoint or another file of variables.

    Raises:
        checkpoints.CheckpointError: there are several LiteRT models and nothing else.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if checkpoints.is_transformers_folder(folder) or any(file.suffix in _FILES_OF_VARIABLES for file in files):
        return None
    if checkpoints_in(folder, "**/*") or any(saved_model(file) for file in files):
        return None
    graphs = [file for file in files if file.suffix == ".pb"]
    models = [file for file in files if file.suffix == ".tflite"]
    if not graphs and len(models) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in models)
        raise checkpoints.CheckpointError(f"{folder} holds {len(models)} LiteRT models; name one of them: {names}.")
    candidates = graphs or models
    return candidates[0] if len(candidates) == 1 else None


def graph_in(folder: pathlib.Path) -> pathlib.Path | None:
    """The hub module or the one graph in a folder, which its checkpoint may have been frozen to; or `sole_network`."""
    if is_hub_module(folder):
        return folder
    graphs = sorted(folder.rglob("*.pb"))
    modules = [file.parent for file in graphs if file.name == "saved_model.pb" and is_hub_module(file.parent)]
    graphs = modules or [file for file in graphs if file.name != "saved_model.pb"]
    if not graphs:
        return sole_network(folder)
    # Several graphs next to one checkpoint (a quantized one, for example): which is its own is not known.
    return graphs[0] if len(graphs) == 1 else None


@contextlib.contextmanager
def network_next_to(path: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Yields the one graph, or else the one LiteRT model, next to the only checkpoint in a folder or archive."""
    is_checkpoint = not path.is_dir() and (v2_prefix(path) or v1_file(path))
    with folder_of(path.parent if is_checkpoint else path) as folder:
        if folder is None or len(checkpoints_in(folder, "*" if is_checkpoint else "**/*")) != 1:
            yield None
            return
        candidates = folder.glob("*") if is_checkpoint else folder.rglob("*")
        files = sorted(file for file in candidates if file.name != "saved_model.pb")
        graphs = [file for file in files if file.suffix == ".pb"]
        named = graphs or [file for file in files if file.suffix == ".tflite"]
        yield named[0] if len(named) == 1 else None
