"""Opens a source as slim variables, graphs with folded batch norms included.

`checkpoints` reads variables by their names. What a graph computes with them, and so what a folded graph holds, is
known here.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

import checkpoints
from converters.errors import ConversionError
from converters.network_files import folder_of, sole_network
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
    with _network_file(origin) as file:
        if file is not None:
            assert not isinstance(origin, Mapping)
            path = pathlib.Path(origin)
            try:
                variables = (_open_litert if file.suffix == ".tflite" else _open_graph)(file)
            except (checkpoints.CheckpointError, ConversionError) as error:
                if not checkpoints.is_archive(path):
                    raise
                # The temporary folder means nothing to the user.
                raise type(error)(str(error).replace(str(file), f"{path}/{file.name}")) from error
            files = (path,) if path.is_file() else variables.files
            return dataclasses.replace(variables, path=path, files=files)
    # Outside the block, whose folder of an archive is gone before the variables are read.
    return checkpoints.open_variables(origin, pristine=pristine)


def graph_file(origin: object) -> pathlib.Path | None:
    """The file that is a graph: the source itself, or a folder's ``saved_model.pb`` where that is a renamed one."""
    if not isinstance(origin, str | pathlib.Path):
        return None
    from checkpoints.frozen_graph import is_graph
    from checkpoints.locate import graph_named_saved_model

    path = pathlib.Path(origin)
    return path if is_graph(path) else graph_named_saved_model(path)


def litert_file(origin: object) -> pathlib.Path | None:
    """Returns the source as a path where it is a ``.tflite`` file."""
    if not isinstance(origin, str | pathlib.Path):
        return None
    path = pathlib.Path(origin)
    return path if path.suffix == ".tflite" and path.is_file() else None


@contextlib.contextmanager
def _network_file(origin: Variables) -> Iterator[pathlib.Path | None]:
    """The graph or LiteRT model that is the source, or the only one in a folder or archive without a checkpoint."""
    if isinstance(origin, Mapping):
        yield None
    elif (file := litert_file(origin) or graph_file(origin)) is not None:
        yield file
    else:
        with folder_of(pathlib.Path(origin)) as folder:
            yield None if folder is None else sole_network(folder)


def _open_litert(path: pathlib.Path) -> checkpoints.VariableFile:
    from converters.litert.network import LiteRTNetwork

    network = LiteRTNetwork(path)
    return _computed(network.variables(), path, LITERT_8_BIT if network.quantized else LITERT)


def _computed(arrays: Mapping[str, np.ndarray], path: pathlib.Path, kind: str) -> checkpoints.VariableFile:
    """Variables that are not in a file under their names, but computed from it."""
    held = checkpoints.VariableFile.from_arrays(arrays, str(path))
    return dataclasses.replace(held, path=path, format=kind, files=(path,), checked=False)


def is_folded(names: Iterable[str]) -> bool:
    """Returns whether slim variables are those of a folded model: its convolutions have biases and no batch norms.

    The first convolution of Inception V2 has a bias and no batch norm in the original too.
    """
    names = list(names)
    biases = any(name.endswith("/biases") and "/Logits/" not in name for name in names)
    return biases and not any("/BatchNorm/" in name for name in names)


def _open_graph(path: pathlib.Path) -> checkpoints.VariableFile:
    from checkpoints.frozen_graph import open_frozen_graph
    from converters.graphs.folded import constants_by_name, folded_variables, has_named_variables, network_nodes
    from converters.graphs.nodes import read_nodes
    from converters.graphs.renamed_scopes import nodes_with_slim_scopes

    try:
        nodes = read_nodes(path)
        renamed = nodes_with_slim_scopes(nodes)
        network = dict(network_nodes(renamed, path))
        own_names = dict(zip(renamed, nodes, strict=True))
        variables = open_frozen_graph(path, [own_names[name] for name in constants_by_name(network)])
    except OSError as error:
        raise checkpoints.CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if network and not has_named_variables(network):
        return _computed(folded_variables(network, path), path, FOLDED)
    if not variables:
        raise checkpoints.CheckpointError(f"{path} holds no variables.")
    return variables
