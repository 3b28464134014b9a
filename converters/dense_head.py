"""A classification layer that is a dense layer: the same computation as slim's 1x1 convolution of pooled features."""

import re
from collections.abc import Mapping
from typing import NamedTuple

# Where trainers put the layer that they train: slim's own scope, and that of TensorFlow's `retrain.py`.
_HEAD_SCOPE = re.compile(r"(?:.*/)?(?:Logits|final_\w*ops)/.*")


class DenseHead(NamedTuple):
    """The entries of a dense classification layer.

    Attributes:
        weights: of shape (features, classes).
        biases: of shape (classes,).
    """

    weights: str
    biases: str


def dense_heads(shapes: Mapping[str, tuple], features: int) -> list[DenseHead]:
    """Finds the dense layers that can be the classification layer of a network.

    Where some are in a scope for classification layers, only those count. A layer in a scope with convolutions is
    part of another network.

    Args:
        shapes: ``{name: shape}`` of what a file holds apart from the network.
        features: how many features the network has.
    """
    convolved = {name.partition("/")[0] for name, shape in shapes.items() if len(shape) == 4}
    heads = []
    for name, shape in shapes.items():
        if len(shape) == 2 and shape[0] == features:
            biases = _biases(name, shape[1], shapes)
            if biases and (_HEAD_SCOPE.fullmatch(name) or name.partition("/")[0] not in convolved):
                heads.append(DenseHead(name, biases))
    return [head for head in heads if _HEAD_SCOPE.fullmatch(head.weights)] or heads


def _biases(weights: str, classes: int, shapes: Mapping[str, tuple]) -> str | None:
    """Returns the only vector of this length in the closest scope around a kernel that has one."""
    scope = weights.rpartition("/")[0]
    while scope:
        vectors = [name for name, shape in shapes.items() if shape == (classes,) and name.startswith(f"{scope}/")]
        if vectors:
            return vectors[0] if len(vectors) == 1 else None
        scope = scope.rpartition("/")[0]
    return None
