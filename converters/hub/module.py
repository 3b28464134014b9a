"""A TF-Hub module on disk as a reference: its endpoints, and what it does in training mode.

A module is read as data: its graphs are checked by `converters.graphs.operations` and its variables assigned from its
checkpoint; no saver, initializer, main operation, asset or table of the file is run.
"""

import pathlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from converters.errors import ConversionError
from converters.graphs.frozen_graph import first_line
from converters.hub.tf1_module import TF1Module
from converters.hub.tf2_module import TF2Module
from converters.hub.training_call import TrainingCall

Arrays = Mapping[str, np.ndarray]


class HubModule(Protocol):
    """What both formats of a module offer.

    Attributes:
        image_size: ``(height, width)``, None where the module takes any.
        takes_momentum: whether a call says the batch norm momentum; modules of versions 1 and 2 have one of their own.
    """

    image_size: tuple[int | None, int | None]
    takes_momentum: bool

    def run(self, images: np.ndarray) -> Arrays:
        """Returns every endpoint by hub name, and ``default``, in inference mode; images float32 in [0, 1]."""

    def train(self, images: np.ndarray, momentum: float) -> TrainingCall:
        """One call in training mode with this batch norm momentum; the module is left as it was.

        Without `takes_momentum`, there are no moving statistics to compare with.
        """

    def regularization_loss(self) -> float:
        """Returns the sum of the regularization losses."""


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
        return (TF1Module if (folder / "tfhub_module.pb").exists() else TF2Module)(folder, saved_model)
    except (tf.errors.OpError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ConversionError(f"{folder} cannot be opened as a TF-Hub module: {first_line(error)}") from error
