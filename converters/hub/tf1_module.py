"""A module in TF1 format (versions 1 to 3): a graph for each tag set, called through its signatures."""

import pathlib
from collections.abc import Mapping

import numpy as np

import checkpoints
from checkpoints.hub_module import image_size
from converters.errors import ConversionError
from converters.graphs.checked_graph import CheckedGraph
from converters.graphs.nodes import by_name, source
from converters.hub.training_call import TrainingCall, is_moving


class TF1Module:
    """See `converters.hub.module.HubModule`."""

    def __init__(self, folder: pathlib.Path, saved_model):
        self._folder = folder
        self._graphs = {frozenset(graph.meta_info_def.tags): graph for graph in saved_model.meta_graphs}
        if frozenset() not in self._graphs:
            raise ConversionError(f"{folder} has no graph without tags, for inference, as TF-Hub modules have.")
        self._has_training_graph = frozenset(["train"]) in self._graphs
        signatures = self._graphs[frozenset()].signature_def
        heads = [name for name in ("image_classification", "image_feature_vector") if name in signatures]
        if not heads or "images" not in signatures[heads[0]].inputs:
            raise ConversionError(f"{folder} lacks the signature image_feature_vector with an input `images`.")
        self._signature = heads[0]
        self._training_signature = f"{heads[0]}_with_bn_hparams"
        self.takes_momentum = self._training_signature in signatures
        self.image_size = image_size(folder)
        with checkpoints.open_variables(folder) as variables:
            self._values = dict(variables)
        self._inference, _ = self._called([], self._signature)

    def run(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        return self._inference.run(images.astype(np.float32))[0]

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        if not self._has_training_graph:
            raise ConversionError(f"{self._folder} has no graph tagged 'train'.")
        images = images.astype(np.float32)
        if not self.takes_momentum:
            return TrainingCall(self._called(["train"], self._signature)[0].run(images)[0], {})
        graph, node = self._called(["train"], self._training_signature, updates=True)
        return TrainingCall(*graph.run(images, {node: momentum}, filter(is_moving, self._values)))

    def regularization_loss(self) -> float:
        graph = self._graphs[frozenset(["train"] if self._has_training_graph else [])]
        losses = list(graph.collection_def["regularization_losses"].node_list.value)
        nodes = by_name(graph.graph_def, self._folder)
        computed, _ = CheckedGraph(self._folder, nodes, self._values, dict(enumerate(losses))).run()
        return float(sum(computed.values()))

    def _called(self, tags: list[str], name: str, updates: bool = False) -> tuple[CheckedGraph, str]:
        """Returns the graph of a signature, and the node of its momentum, "" where it has none."""
        graph = self._graphs[frozenset(tags)]
        signature = graph.signature_def[name]
        inputs = {key: source(tensor.name) for key, tensor in signature.inputs.items()}
        outputs = {key: tensor.name for key, tensor in signature.outputs.items()}
        momentum = inputs.get("batch_norm_momentum", "")
        checked = CheckedGraph(
            self._folder,
            by_name(graph.graph_def, self._folder),
            self._values,
            outputs,
            map(source, graph.collection_def["update_ops"].node_list.value) if updates else (),
            inputs["images"],
            [momentum] if momentum else [],
        )
        return checked, momentum
