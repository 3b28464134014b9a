"""Live TF-Slim networks: the oracle of the tests and of the demonstration."""

from .networks import FAMILIES, network
from .recipes import golden_variables, loss_weights, made_up_images, made_up_variables
from .run import TrainingStep, run, train_step, variable_shapes

__all__ = [
    "FAMILIES",
    "TrainingStep",
    "golden_variables",
    "loss_weights",
    "made_up_images",
    "made_up_variables",
    "network",
    "run",
    "train_step",
    "variable_shapes",
]
