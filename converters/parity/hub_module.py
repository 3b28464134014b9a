"""A TF-Hub module on disk as a reference: its endpoints, and what it does in training mode."""

import pathlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from checkpoints.hub_module import image_size
from converters.errors import ConversionError
from converters.parity.sessions import as_it_stands
from mobilenets import SCOPES

Arrays = Mapping[str, np.ndarray]


class TrainingCall(NamedTuple):
    """What one call in training mode gives: the outputs, and the moving statistics after it."""

    outputs: Arrays
    moving_statistics: Arrays


class HubModule(Protocol):
    """What both formats of a module offer.

    Attributes:
        image_size: ``(height, width)``, None where the module takes any.
        takes_momentum: whether a call says the batch norm momentum; modules of versions 1 and 2 have one of their own.
    """

    image_size: tuple[int | None, int | None]
    takes_momentum: bool

    def run(self, images: np.ndarray) -> Arrays:
        """Every endpoint by hub name, and ``default``, in inference mode; images float32 in [0, 1]."""

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        """One call in training mode with this batch norm momentum; the module is left as it was.

        Without `takes_momentum`, there are no moving statistics to compare with.
        """

    def regularization_loss(self) -> float:
        """The sum of the regularization losses."""


def is_hub_module(path: object) -> bool:
    """Whether ``path`` is the folder of a SavedModel."""
    return isinstance(path, str | pathlib.Path) and (pathlib.Path(path) / "saved_model.pb").is_file()


def open_hub_module(folder: str | pathlib.Path) -> HubModule:
    """Opens a module of either format.

    Raises:
        ConversionError: the folder holds no module of these networks, or a damaged one.
        OSError: it cannot be read.
    """
    folder = pathlib.Path(folder)
    try:
        saved_model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{folder} is damaged: saved_model.pb in it is not a SavedModel.") from error
    try:
        return TF1Module(folder, saved_model) if (folder / "tfhub_module.pb").exists() else TF2Module(folder)
    except (tf.errors.OpError, KeyError, AttributeError, TypeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"{folder} cannot be opened as a TF-Hub module: {reason}") from error


class TF2Module:
    """A reusable SavedModel (versions 4 and 5), called through its ``__call__``."""

    takes_momentum = True

    def __init__(self, folder: pathlib.Path):
        with _without_graph_optimizers():
            self._module = tf.saved_model.load(str(folder))
        missing = [
            name
            for name in ("__call__", "variables", "trainable_variables", "regularization_losses")
            if not hasattr(self._module, name)
        ]
        if missing:
            raise ConversionError(
                f"{folder} is a SavedModel, but no reusable one as TF-Hub modules are: {', '.join(missing)} is missing."
            )
        self._variables = {variable.name.removesuffix(":0"): variable for variable in self._module.variables}
        if not any(name.startswith(f"{scope}/") for name in self._variables for scope in SCOPES.values()):
            raise ConversionError(f"{folder} is a module of another network: its variables have other names.")
        self.image_size = image_size(folder)

    def run(self, images: np.ndarray) -> Arrays:
        return self._call(images, False, 0.99)

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        before = {name: variable.numpy() for name, variable in self._variables.items()}
        try:
            outputs = self._call(images, True, momentum)
            return TrainingCall(outputs, _moving(self._variables, lambda variable: variable.numpy()))
        finally:
            for name, variable in self._variables.items():
                variable.assign(before[name])

    def regularization_loss(self) -> float:
        return float(sum(loss().numpy() for loss in self._module.regularization_losses))

    def _call(self, images, training, momentum):
        with _without_graph_optimizers():
            outputs = self._module(
                tf.constant(images, tf.float32),
                training=training,
                return_endpoints=True,
                batch_norm_momentum=tf.constant(momentum, tf.float32),
            )
        return {name: output.numpy() for name, output in outputs.items()}


class TF1Module:
    """A module in TF1 format (versions 1 to 3): a graph for each tag set, called through its signatures."""

    def __init__(self, folder: pathlib.Path, saved_model: SavedModel):
        self._folder = str(folder)
        tags = [set(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
        if set() not in tags:
            raise ConversionError(f"{folder} has no graph without tags, for inference, as TF-Hub modules have.")
        self._has_training_graph = {"train"} in tags
        signatures = saved_model.meta_graphs[tags.index(set())].signature_def
        heads = [name for name in ("image_classification", "image_feature_vector") if name in signatures]
        if not heads or "images" not in signatures[heads[0]].inputs:
            raise ConversionError(f"{folder} lacks the signature image_feature_vector with an input `images`.")
        self._signature = heads[0]
        self._training_signature = f"{heads[0]}_with_bn_hparams"
        self.takes_momentum = self._training_signature in signatures
        self.image_size = image_size(folder)

    def run(self, images: np.ndarray) -> Arrays:
        with self._session([]) as (session, signatures):
            signature = signatures[self._signature]
            outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
            return session.run(outputs, {signature.inputs["images"].name: images})

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        if not self._has_training_graph:
            raise ConversionError(f"{self._folder} has no graph tagged 'train'.")
        with self._session(["train"]) as (session, signatures):
            signature = signatures[self._training_signature if self.takes_momentum else self._signature]
            outputs = {key: tensor.name for key, tensor in signature.outputs.items()}
            feeds = {signature.inputs["images"].name: images}
            if not self.takes_momentum:
                return TrainingCall(session.run(outputs, feeds), {})
            feeds[signature.inputs["batch_norm_momentum"].name] = momentum
            updates = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
            computed, _ = session.run((outputs, updates), feeds)
            variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
            return TrainingCall(computed, _moving(variables, session.run))

    def regularization_loss(self) -> float:
        with self._session(["train"] if self._has_training_graph else []) as (session, _):
            return float(sum(session.run(tf.compat.v1.losses.get_regularization_losses())))

    @contextmanager
    def _session(self, tags):
        with tf.Graph().as_default(), tf.compat.v1.Session(config=as_it_stands()) as session:
            yield session, tf.compat.v1.saved_model.load(session, tags, self._folder).signature_def


def _moving(variables, value) -> Arrays:
    moving = ("/moving_mean", "/moving_variance")
    return {name: value(variable) for name, variable in variables.items() if name.endswith(moving)}


@contextmanager
def _without_graph_optimizers() -> Iterator[None]:
    """The functions of a module run op for op; see `converters.parity.sessions.as_it_stands` for why."""
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})
