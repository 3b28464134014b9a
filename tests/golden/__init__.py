"""The recipe behind the golden files: weights from a variable's name, images from a fixed seed.

Every ``*.npz`` next to this file records what the original TF-Slim network computed with the weights and images of this
module (README.md tells what is in them). A case therefore needs no checkpoint file: any slim variable name and shape
gives its values.
"""

import hashlib
import json
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent
CASES = sorted(path.stem for path in FOLDER.glob("*.npz"))
OUT_STEP = 16  # of the flattened feature maps, every so many values were kept


def load(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """``(meta, arrays)`` of one case."""
    with np.load(FOLDER / f"{name}.npz") as data:
        arrays = {key: data[key] for key in data.files if key != "meta"}
        return json.loads(str(data["meta"])), arrays


def variables(meta: dict) -> dict[str, np.ndarray]:
    """The complete slim checkpoint of a case, as ``{variable name: values}``."""
    return {name: weight(name, shape) for name, shape in meta["variables"].items()}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 values of the slim variable ``name`` (for example ``MobilenetV2/Conv/weights``)."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.PCG64(seed))
    leaf = name.split("/")[-1]
    if leaf in ("moving_variance", "gamma"):
        values = rng.uniform(0.5, 1.5, shape)
    elif leaf in ("moving_mean", "beta", "biases"):
        values = rng.normal(0, 0.3, shape)
    elif leaf == "depthwise_weights":
        values = rng.normal(0, np.sqrt(2 / (shape[0] * shape[1])), shape)
    else:
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    return values.astype(np.float32)


def images(height: int, width: int, batch: int = 2) -> np.ndarray:
    """Float32 ``(batch, height, width, 3)`` in [0, 1], as a hub module takes them (slim was fed ``2 * x - 1``)."""
    rng = np.random.Generator(np.random.PCG64(42))
    return rng.uniform(0, 1, (batch, height, width, 3)).astype(np.float32)


def loss_weights(num_classes: int, batch: int = 2) -> np.ndarray:
    """``c`` of the training cases, whose loss is ``sum(logits * c) / num_classes``."""
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.normal(size=(batch, num_classes)).astype(np.float32)
