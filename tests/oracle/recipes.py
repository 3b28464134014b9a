"""Made-up variables and images: good enough to tell a right network from a wrong one, and the same for everyone."""

import hashlib
from collections.abc import Mapping

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]


def made_up_variables(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 values that keep activations near unit size, so that float32 rounding is not amplified.

    Batch norm statistics and scales are random, so that swapping any two of them shows. Kernels are drawn such that
    a signal keeps its power through a rectifier; V2's projections halve it, because the residual sums add it up again.
    Where activations outgrow ReLU6's bound instead, each layer multiplies the relative error of the one before.
    """
    rng = np.random.default_rng(seed)
    return {name: _made_up(name, tuple(shape), rng).astype(np.float32) for name, shape in shapes.items()}


def _made_up(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if leaf in ("beta", "biases", "moving_mean"):
        return rng.normal(0, 0.1, shape)
    fan_in = np.prod(shape[:2]) if leaf == "depthwise_weights" else np.prod(shape[:-1])
    power = 0.5 if "/project/" in name else 2
    # 1.19 is the mean of gamma**2 / variance over the two uniform ranges above.
    return rng.normal(0, np.sqrt(power / 1.19 / fan_in), shape)


def golden_variables(shapes: Shapes) -> dict[str, np.ndarray]:
    """The variables of the golden cases: each follows from its name alone (SHA-256 of the name seeds PCG64)."""
    return {name: _golden(name, tuple(shape)).astype(np.float32) for name, shape in shapes.items()}


def _golden(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.PCG64(seed))
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if leaf in ("beta", "biases", "moving_mean"):
        return rng.normal(0, 0.3, shape)
    fan_in = shape[0] * shape[1] if leaf == "depthwise_weights" else np.prod(shape[:-1])
    return rng.normal(0, np.sqrt(2 / fan_in), shape)


def made_up_images(height: int, width: int, batch: int = 2, seed: int = 42) -> np.ndarray:
    """Float32 `(batch, height, width, 3)` in [0, 1]; with the default seed those of the golden cases."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.uniform(0, 1, (batch, height, width, 3)).astype(np.float32)


def loss_weights(num_classes: int, batch: int = 2) -> np.ndarray:
    """The `c` of the golden training cases, whose loss is `sum(logits * c) / num_classes`."""
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.normal(size=(batch, num_classes)).astype(np.float32)
