"""Images in the range that a model takes, and its outputs as logits."""

import numpy as np


def in_range(images: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Returns images in [0, 1] in another range."""
    low, high = ends
    return images if (low, high) == (0, 1) else (high - low) * images + low


def as_logits(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logarithm of probabilities: a softmax gives them back."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
