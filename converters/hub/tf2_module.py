"""A TF2 module (versions 4 and 5): the functions behind its ``__call__``, read from the file and not loaded."""

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import checkpoints
from checkpoints.hub_module import image_size
from converters.errors import ConversionError
from converters.graphs.checked_graph import CheckedGraph, variable_node
from converters.graphs.inlining import inlined
from converters.graphs.operations import VARIABLES, check_operations
from converters.hub.training_call import TrainingCall, is_moving
from converters.text import brief
from mobilenets import SCOPES

_PARTS = ("__call__", "variables", "trainable_variables", "regularization_losses")


class TF2Module:
    """A reusable SavedModel; see `converters.hub.module.HubModule`."""

    takes_momentum = True

    def __init__(self, folder: pathlib.Path, saved_model: SavedModel):
        self._folder = folder
        graph = saved_model.meta_graphs[0] if saved_model.meta_graphs else MetaGraphDef()
        self._objects = graph.object_graph_def
        root = _children(self._objects, 0) if self._objects.nodes else {}
        missing = [name for name in _PARTS if name not in root]
        if missing:
            raise ConversionError(
                f"{folder} is a SavedModel, but no reusable one as TF-Hub modules are: {', '.join(missing)} is missing."
            )
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        self._file_bytes = (folder / "saved_model.pb").stat().st_size
        self._root = root
        with checkpoints.open_variables(folder) as variables:
            self._values = dict(variables)
        if not any(name.startswith(f"{scope}/") for name in self._values for scope in SCOPES.values()):
            raise ConversionError(f"{folder} is a module of another network: its variables have other names.")
        self.image_size = image_size(folder)
        self._calls = {training: self._call(training) for training in (False, True)}

    def run(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        graph, takes_momentum, momentum = self._calls[False]
        return graph.run(images.astype(np.float32), {momentum: 0.99} if takes_momentum else {})[0]

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        graph, takes_momentum, name = self._calls[True]
        if not takes_momentum:
            raise ConversionError(f"{self._folder} has no function that takes a batch norm momentum in training mode.")
        moving = list(filter(is_moving, self._values))
        return TrainingCall(*graph.run(images.astype(np.float32), {name: momentum}, moving))

    def regularization_loss(self) -> float:
        losses = 0.0
        for node in _children(self._objects, self._root["regularization_losses"]).values():
            for name in _function_names(self._objects.nodes[node]):
                graph, _ = self._graph(name, {})
                losses += sum(float(loss) for loss in graph.run()[0].values())
        return losses

    def _call(self, training: bool) -> tuple[CheckedGraph, bool, str]:
        """Returns the trace that returns all endpoints; whether it takes a momentum, and the node to feed with it."""
        node = self._objects.nodes[self._root["__call__"]]
        for name in _function_names(node):
            arguments = _arguments(self._objects.concrete_functions[name], node.function.function_spec)
            tensors = [key for key, value in arguments if _is_tensor(value)]
            literal = {key: value for key, value in arguments if not _is_tensor(value)}
            if literal.get("training") is training and literal.get("return_endpoints") is True:
                graph, names = self._graph(name, tensors)
                return graph, "batch_norm_momentum" in tensors, names.get("batch_norm_momentum", "")
        raise ConversionError(
            f"{self._folder} cannot be opened as a TF-Hub module: its __call__ has no trace with training={training} "
            "and return_endpoints=True."
        )

    def _graph(self, name: str, tensors) -> tuple[CheckedGraph, dict[str, str]]:
        """Returns a concrete function as a graph, and the nodes of its tensor arguments by name."""
        # Checked before it is inlined: a function may call itself, or many others.
        body = self._functions[name]
        check_operations(self._folder, body.node_def, self._functions, self._file_bytes, VARIABLES)
        flat = inlined(name, self._functions)
        concrete = self._objects.concrete_functions[name]
        bound = list(concrete.bound_inputs)
        if len(flat.arguments) != len(tensors) + len(bound):
            raise ConversionError(f"{self._folder} is damaged: its function {brief(name)} takes other arguments.")
        nodes = {node.name: node for node in flat.nodes}
        for argument, number in zip(flat.arguments[len(tensors) :], bound, strict=True):
            captured = self._objects.nodes[number]
            if captured.WhichOneof("kind") != "variable":
                raise ConversionError(
                    f"{self._folder} is not run: its function {brief(name)} needs a {captured.WhichOneof('kind')}, "
                    "and the networks need variables only."
                )
            variable = captured.variable
            slim = variable.name.removesuffix(":0")
            own = slim if slim in self._values else argument  # the seed of a dropout has no name of its own
            nodes[argument] = variable_node(argument, own, variable.dtype, variable.shape)
        names = dict(zip(tensors, flat.arguments, strict=False))
        outputs = dict(zip(_keys(concrete.output_signature, len(flat.outputs)), flat.outputs, strict=True))
        images, *scalars = [*names.values()] or [""]
        return CheckedGraph(self._folder, nodes, self._values, outputs, flat.effects, images, scalars), names


def _children(objects, number: int) -> dict[str, int]:
    return {child.local_name: child.node_id for child in objects.nodes[number].children}


def _function_names(node) -> list[str]:
    if node.WhichOneof("kind") == "bare_concrete_function":
        return [node.bare_concrete_function.concrete_function_name]
    return list(node.function.concrete_functions)


def _arguments(concrete, spec) -> list[tuple[str, object]]:
    """``(name, literal or specification of a tensor)`` of the arguments of a trace, in order."""
    args, kwargs = _plain(concrete.canonicalized_input_signature)
    names = _plain(spec.fullargspec)["args"][1 if spec.is_method else 0 :]
    return [*zip(names, args, strict=False), *sorted(kwargs.items())]


def _is_tensor(value: object) -> bool:
    return hasattr(value, "shape")


def _plain(value):
    """Returns a StructuredValue as Python's own; the specification of a tensor as its message."""
    kind = value.WhichOneof("kind")
    part = getattr(value, kind) if kind else None
    if kind in ("tuple_value", "list_value"):
        return [_plain(item) for item in part.values]
    if kind == "dict_value":
        return {key: _plain(item) for key, item in part.fields.items()}
    if kind == "named_tuple_value":
        return {pair.key: _plain(pair.value) for pair in part.values}
    return None if kind == "none_value" else part


def _keys(signature, count: int) -> Iterator[object]:
    """Yields the keys of a function's outputs: those of its dictionary, which TensorFlow sorts, or numbers."""
    value = _plain(signature)
    yield from sorted(value) if isinstance(value, dict) else range(count)
