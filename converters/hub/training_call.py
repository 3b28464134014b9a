"""What one call of a module in training mode gives."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class TrainingCall(NamedTuple):
    """The outputs, and the moving statistics after the call."""

    outputs: Mapping[str, np.ndarray]
    moving_statistics: Mapping[str, np.ndarray]


def is_moving(name: str) -> bool:
    """Returns whether a variable is a moving statistic of a batch norm."""
    return name.endswith(("/moving_mean", "/moving_variance"))
