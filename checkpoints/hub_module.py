"""The variables of a TF-Hub module: a SavedModel whose ``variables/`` is a checkpoint."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from checkpoints.errors import CheckpointError
from checkpoints.tensor_bundle import open_v2, read_string
from checkpoints.variable_file import VariableFile
from checkpoints.wire import Message, WireError, parse

# TensorFlow 2 names the entries of a checkpoint by paths of objects. The entry of this name is the graph of the
# objects, which has the names of the variables.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def is_hub_module(path: Path) -> bool:
    """Whether ``path`` is the folder of a SavedModel, such as a TF-Hub module."""
    return (path / "saved_model.pb").is_file()


def open_hub_module(path: Path) -> VariableFile:
    """Opens the variables of a module, of version 1 to 3 (TF1 format) or later (TF2 SavedModel), by their slim names.

    Raises:
        CheckpointError: the variables are missing, damaged or without names.
    """
    if not (path / "variables" / "variables.index").is_file():
        raise CheckpointError(f"{path} is a SavedModel without variables: variables/variables.index is missing in it.")
    prefix = path / "variables" / "variables"
    with contextlib.ExitStack() as resources:
        variables = resources.enter_context(open_v2(prefix))
        graph = read_string(prefix, _OBJECT_GRAPH)
        entries = {name: name for name in variables} if graph is None else _entries_by_name(graph, path)
        missing = sorted(name for name, entry in entries.items() if entry not in variables)
        if missing:
            raise CheckpointError(f"{path} is damaged: its checkpoint lacks {', '.join(missing)}.")
        is_tf1 = (path / "tfhub_module.pb").is_file()
        return dataclasses.replace(
            variables.renamed(entries),
            path=path,
            format=f"hub module ({'TF1 format' if is_tf1 else 'TF2 SavedModel'})",
            files=(path / "saved_model.pb", *variables.files),
            image_size=image_size(path),
            resources=resources.pop_all(),
        )


def _entries_by_name(graph: bytes, path: Path) -> dict[str, str]:
    """Returns ``{variable name: entry of the checkpoint}`` from the list ``variables`` of a module's root object."""
    try:
        nodes = parse("TrackableObjectGraph", graph).nodes
        lists = [_at(nodes, child.node_id) for child in _at(nodes, 0).children if child.local_name == "variables"]
        attributes = [a for node in lists for child in node.children for a in _at(nodes, child.node_id).attributes]
    except (WireError, IndexError):
        raise CheckpointError(f"{path} is damaged: its graph of objects cannot be decoded.") from None
    entries = {a.full_name: a.checkpoint_key for a in attributes if a.name == "VARIABLE_VALUE"}
    if not entries:
        raise CheckpointError(f"{path} is a SavedModel, but no TF-Hub module: its root has no list `variables`.")
    return entries


def image_size(path: Path) -> tuple[int | None, int | None]:
    """Returns height and width of the images that a module takes, each None if it takes any.

    Raises:
        CheckpointError: ``saved_model.pb`` is damaged, or none of its functions and signatures takes images.
    """
    try:
        graphs = parse("SavedModel", (path / "saved_model.pb").read_bytes()).meta_graphs
    except WireError:
        raise CheckpointError(f"{path} is damaged: saved_model.pb in it is not a SavedModel.") from None
    for graph in graphs:
        inputs = [i.value.tensor_shape for signature in graph.signature_def for i in signature.value.inputs]
        try:
            calls = list(_call_shapes(graph.object_graph_def))
        except IndexError:
            raise CheckpointError(f"{path} is damaged: an object in it refers to one that does not exist.") from None
        for shape in (*calls, *inputs):
            lengths = [dim.size for dim in shape.dim]
            if len(lengths) == 4 and lengths[3] == 3:
                height, width = (length if length > 0 else None for length in lengths[1:3])
                return height, width
    raise CheckpointError(f"{path} is a SavedModel, but no TF-Hub module for images: none of its functions takes any.")


def _call_shapes(objects: Message) -> Iterator[Message]:
    """Yields the shapes of the tensors that the root's ``__call__`` takes, in all of its traces."""
    functions = {entry.key: entry.value for entry in objects.concrete_functions}
    for child in objects.nodes[0].children if objects.nodes else ():
        if child.local_name == "__call__":
            for trace in _at(objects.nodes, child.node_id).function.concrete_functions:
                if trace in functions:
                    yield from _shapes(functions[trace].canonicalized_input_signature)


def _shapes(value: Message) -> Iterator[Message]:
    """Yields the shapes of all tensors in a signature."""
    if value.has("tensor_spec_value"):
        yield value.tensor_spec_value.shape
    fields = [entry.value for entry in value.dict_value.fields]
    for part in (*value.tuple_value.values, *value.list_value.values, *fields):
        yield from _shapes(part)


def _at(nodes: Sequence[Message], number: int) -> Message:
    if number < 0:
        raise IndexError
    return nodes[number]
