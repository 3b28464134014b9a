"""The variables of a TF-Hub module: a SavedModel whose ``variables/`` is a checkpoint."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from checkpoints.errors import CheckpointError
from checkpoints.object_checkpoint import OBJECT_GRAPH, entries_by_full_name
from checkpoints.tensor_bundle import open_v2, read_string
from checkpoints.variable_file import VariableFile
from checkpoints.wire import Message, WireError, parse

PLAIN = "SavedModel"


def open_hub_module(path: Path) -> VariableFile:
    """Opens the variables of a module, of version 1 to 3 (TF1 format) or later (TF2 SavedModel), by their slim names.

    Raises:
        CheckpointError: the variables are missing, damaged or without names.
    """
    if not (path / "variables" / "variables.index").is_file():
        raise CheckpointError(
            f"{path} is a SavedModel without variables: variables/variables.index is missing in it. "
            "Convert the checkpoint or the frozen graph that it was exported from."
        )
    prefix = path / "variables" / "variables"
    with contextlib.ExitStack() as resources:
        variables = resources.enter_context(open_v2(prefix))
        graph = read_string(prefix, OBJECT_GRAPH)
        kind = saved_model_kind(path)
        if graph is None:
            entries = {name: name for name in variables}
        elif kind == PLAIN:
            entries = entries_by_full_name(graph, path) or {name: name for name in variables}
        else:
            entries = _entries_by_name(graph, path)
        missing = sorted(name for name, entry in entries.items() if entry not in variables)
        if missing:
            raise CheckpointError(f"{path} is damaged: its checkpoint lacks {', '.join(missing)}.")
        return dataclasses.replace(
            variables.renamed(entries),
            path=path,
            format=kind,
            files=(path / "saved_model.pb", *variables.files),
            image_size=_size_if_images(path) if kind == PLAIN else image_size(path),
            resources=resources.pop_all(),
        )


def saved_model_kind(path: Path) -> str:
    """Returns "hub module (TF1 format)", "hub module (TF2 SavedModel)" or "SavedModel", of a SavedModel's folder.

    A module has a file that names its format (TF1), or a root object that can be called (TF2).

    Raises:
        CheckpointError: ``saved_model.pb`` is damaged.
    """
    if (path / "tfhub_module.pb").is_file():
        return "hub module (TF1 format)"
    graphs = _meta_graphs(path)
    if not graphs:
        raise CheckpointError(f"{path} is damaged: saved_model.pb in it has no graph, so it is no TF-Hub module.")
    roots = [graph.object_graph_def.nodes[0] for graph in graphs if graph.object_graph_def.nodes]
    called = any(child.local_name in ("__call__", "variables") for root in roots for child in root.children)
    return "hub module (TF2 SavedModel)" if called else PLAIN


def _size_if_images(path: Path) -> tuple[int | None, int | None] | None:
    """Returns the image size of a SavedModel; None if its signatures take something else, such as encoded images."""
    try:
        return image_size(path)
    except CheckpointError:
        return None


def _meta_graphs(path: Path) -> Sequence[Message]:
    try:
        return parse("SavedModel", (path / "saved_model.pb").read_bytes()).meta_graphs
    except WireError:
        raise CheckpointError(f"{path} is damaged: saved_model.pb in it is not a SavedModel.") from None


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
    for graph in _meta_graphs(path):
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
