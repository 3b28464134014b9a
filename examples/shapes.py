"""A small set of images to learn from: five bright shapes of any colour, size and place, on dark backgrounds."""

import numpy as np

CLASSES = ("disc", "square", "triangle", "cross", "ring")


def make_shapes(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws images.

    Args:
        count: how many; the classes take turns.
        size: height and width.
        seed: of everything random.

    Returns:
        float32 ``(count, size, size, 3)`` in [0, 1], and the labels: int ``(count,)``, an index into `CLASSES`.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    return np.stack([_draw(CLASSES[label], size, rng) for label in labels]), labels


def _draw(shape: str, size: int, rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(0.25, 0.42) * size
    x0, y0 = rng.uniform(radius, size - radius, 2)
    y, x = np.mgrid[:size, :size]
    x, y = (x - x0) / radius, (y - y0) / radius
    distance = np.hypot(x, y)
    inside = {
        "disc": distance < 1,
        "square": np.maximum(abs(x), abs(y)) < 0.85,
        "triangle": (y < 0.7) & (y > 2 * abs(x) - 1),
        "cross": (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),
        "ring": (distance < 1) & (distance > 0.6),
    }[shape]
    background, colour = rng.uniform(0, 0.3, 3), rng.uniform(0.6, 1, 3)
    image = np.where(inside[..., None], colour, background) + rng.normal(0, 0.05, (size, size, 3))
    return image.clip(0, 1).astype(np.float32)
