"""Models of 1000 classes: ImageNet's 1001 without class 0, "background".

The published networks were trained with 1001 classes; other libraries have 1000. Without class 0 the logits of the
other classes keep their values, and the softmax runs over 1000 classes: each probability p becomes p / (1 - p0).
"""

from collections.abc import Mapping

import numpy as np

from converters.weights import is_logits
from mobilenets import PUBLISHED_CLASSES

CLASSES = PUBLISHED_CLASSES - 1
DROPPED = (
    f'Class 0, "background", was left out: class n of {PUBLISHED_CLASSES} is class n - 1 of {CLASSES}, and the softmax '
    f"is over {CLASSES} classes."
)


def lacks_background(shape: tuple[int, ...], reference: tuple[int, ...] | None) -> bool:
    """Returns whether a shape is that of a reference without class 0."""
    return bool(reference) and (*shape[:-1], shape[-1] + 1) == reference and reference[-1] == PUBLISHED_CLASSES


def shapes_without_background(shapes: Mapping[str, tuple]) -> dict[str, tuple]:
    """Returns the shapes of variables without class 0 in the classification layer."""
    return {name: (*shape[:-1], CLASSES) if is_logits(name) else shape for name, shape in shapes.items()}


def without_background(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns variables without class 0 in kernel and biases of the classification layer."""
    return {name: variables[name][..., 1:] if is_logits(name) else variables[name] for name in variables}


def aligned_output(name: str, reference: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an output of a reference without class 0, if that gives it the shape of the model's output."""
    if not (reference.ndim and shape and lacks_background(shape, reference.shape)):
        return reference
    rest = reference[..., 1:]
    return rest / rest.sum(axis=-1, keepdims=True) if name.endswith("/Predictions") else rest
