"""Opens a source as slim variables, graphs with folded batch norms included.

`checkpoints` reads variables by their names. What a graph computes with them, and so what a folded graph holds, is
known here.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

import checkpoints
from converters.sources import Variables

FOLDED = "frozen graph with folded batch norms"
LITERT, LITERT_8_BIT = "LiteRT model", "LiteRT model, 8-bit"


def open_source(origin: Variables, pristine: bool = False) -> checkpoints.VariableFile:
    """Opens a source by slim names, as `checkpoints.open_variables` does, and graphs whose batch norms are folded.

    A graph that has all variables under their names gives these. Otherwise it gives the kernels and biases of its
    convolutions with everything folded in that scales and shifts their outputs: the weights of `mobilenets.fuse`.

    Args:
        origin: what `checkpoints.open_variables` takes, or a ``.tflite`` file.
        pristine: as `checkpoints.open_variables` takes it.

    Raises:
        checkpoints.CheckpointError: the source cannot be read.
        ConversionError: a graph cannot be folded.
    """
    if (file := litert_file(origin)) is not None:
        return _open_litert(file)
    graph = graph_file(origin)
    if graph is None:
        return checkpoints.open_variables(origin, pristine=pristine)
    return _open_graph(graph)


def graph_file(origin: object) -> pathlib.Path | None:
    """The file that is a graph: the source itself, or a folder's ``saved_model.pb`` where that is a renamed one."""
    if not isinstance(origin, str | pathlib.Path):
        return None
    from checkpoints.frozen_graph import is_graph
    from checkpoints.locate import graph_named_saved_model

    path = pathlib.Path(origin)
    return path if is_graph(path) else graph_named_saved_model(path)


def litert_file(origin: object) -> pathlib.Path | None:
    """The source as a path where it is a ``.tflite`` file."""
    if not isinstance(origin, str | pathlib.Path):
        return None
    path = pathlib.Path(origin)
    return path if path.suffix == ".tflite" and path.is_file() else None


def is_hub_module(path: object) -> bool:
    """Whether ``path`` is the folder of a SavedModel that can be run here.

    Other SavedModels are sources of weights: those without variables, those of serving functions, renamed graphs.
    """
    from checkpoints.hub_module import PLAIN, saved_model_kind
    from checkpoints.locate import saved_model

    if not isinstance(path, str | pathlib.Path) or saved_model(pathlib.Path(path)) is None:
        return False
    folder = pathlib.Path(path)
    try:
        return folder.is_dir() and saved_model_kind(folder) != PLAIN
    except checkpoints.CheckpointError:
        return True  # opening it raises an error that names the damage


def _open_litert(path: pathlib.Path) -> checkpoints.VariableFile:
    from converters.litert.network import LiteRTNetwork

    network = LiteRTNetwork(path)
    return _computed(network.variables(), path, LITERT_8_BIT if network.quantized else LITERT)


def _computed(arrays: Mapping[str, np.ndarray], path: pathlib.Path, kind: str) -> checkpoints.VariableFile:
    """Variables that are not in a file under their names, but computed from it."""
    held = checkpoints.VariableFile.from_arrays(arrays, str(path))
    return dataclasses.replace(held, path=path, format=kind, files=(path,), checked=False)


def is_folded(names: Iterable[str]) -> bool:
    """Whether slim variables are those of a folded model: its convolutions have biases and no batch norms.

    The first convolution of Inception V2 has a bias and no batch norm in the original too.
    """
    names = list(names)
    biases = any(name.endswith("/biases") and "/Logits/" not in name for name in names)
    return biases and not any("/BatchNorm/" in name for name in names)


def _open_graph(path: pathlib.Path) -> checkpoints.VariableFile:
    from checkpoints.frozen_graph import open_frozen_graph
    from converters.graphs.folded import constants_by_name, folded_variables, has_named_variables, network_nodes
    from converters.graphs.nodes import read_nodes

    try:
        network = dict(network_nodes(read_nodes(path), path))
        variables = open_frozen_graph(path, constants_by_name(network))
    except OSError as error:
        raise checkpoints.CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if network and not has_named_variables(network):
        return _computed(folded_variables(network, path), path, FOLDED)
    if not variables:
        raise checkpoints.CheckpointError(f"{path} holds no variables.")
    return variables
