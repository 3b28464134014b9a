"""A model written in another format and run from there, in this process or in one whose Keras runs on TensorFlow."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping

import keras
import numpy as np

from converters.exporting.formats import Format, find_format
from converters.tensorflow_extra import run_on_tensorflow

BATCH = 32


def written_and_run(model: keras.Model, path: pathlib.Path, target: Format, images: np.ndarray) -> np.ndarray:
    """Writes a model and returns the outputs of what was written, in the format's own runtime."""
    # Keras's exporters print what they wrote.
    with contextlib.redirect_stdout(io.StringIO()):
        target.write(model, path, images)
    function = target.load(path)
    return function(images) if target.at_once else in_batches(function, images)


def in_batches(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Returns the outputs for all images: for the first alone, then for many at a time, to test both."""
    starts = [0, *range(1, len(images), BATCH)]
    ends = [*starts[1:], len(images)]
    return np.concatenate([function(images[start:end]) for start, end in zip(starts, ends, strict=True)])


def on_tensorflow(model: keras.Model, path: pathlib.Path, choices: Mapping, images: np.ndarray) -> np.ndarray:
    """Does as `written_and_run` in a process on Keras's TensorFlow backend, with the same weights.

    Args:
        model: the model.
        path: where to write it.
        choices: the arguments of `find_format`.
        images: as the model takes them.

    Raises:
        ConversionError: TensorFlow is not installed, or the process fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model.save(folder / "model.keras")
        np.save(folder / "images.npy", images)
        request = {"path": str(path.absolute()), "choices": dict(choices)}
        run_on_tensorflow(__name__, f"Exporting to {choices['format']}", folder, request)
        return np.load(folder / "outputs.npy", allow_pickle=False)


def _serve(folder: pathlib.Path, request: Mapping) -> None:
    import mobilenets  # noqa: F401  registers its layers for loading
    from converters.keras_file import open_keras_file

    choices = dict(request["choices"])
    target = find_format(choices.pop("format"), **choices)
    model = open_keras_file(folder / "model.keras")
    images = np.load(folder / "images.npy", allow_pickle=False)
    np.save(folder / "outputs.npy", written_and_run(model, pathlib.Path(request["path"]), target, images))


if __name__ == "__main__":
    _serve(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))
