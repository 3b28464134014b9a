"""Images and a small model for the tests that look at images, and a job in many small parts that can be killed."""

import pathlib
import sys

import numpy as np

from converters.images.embedding import embed
from converters.images.image_paths import ImagePaths
from converters.images.models import open_image_model

SIZES = {"part_size": 4, "batch_size": 3}


def write_images(folder: pathlib.Path, count: int, broken: tuple[int, ...] = ()) -> list[pathlib.Path]:
    """Writes small PNG files of noise, and files that are not images."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(256, size=(40 + number, 50, 3), dtype=np.uint8)
        path.write_bytes(b"no image" if number in broken else tf.io.encode_png(pixels).numpy())
    return paths


def write_model(path: pathlib.Path, **arguments) -> pathlib.Path:
    """MobileNet V1 with a quarter of the channels, for images of 64 pixels, with made-up weights."""
    import mobilenets
    from tests.networks import set_weights, slim_weights
    from tests.oracle.recipes import made_up_variables

    model = mobilenets.MobileNetV1(0.25, **{"input_shape": (64, 64, 3), **arguments})
    shapes = {name: tuple(weight.shape) for name, weight in slim_weights(model).items()}
    set_weights(model, made_up_variables(shapes))
    model.save(path)
    return path


def run() -> None:
    """Embeds in small parts: MODEL FOLDER OUTPUT in `sys.argv`."""
    model, folder, output = sys.argv[1:]
    embed(open_image_model(model), ImagePaths([folder]), output, **SIZES)
