"""The runtime of a job: the fastest that is installed and, on the first images, as exact as float32 can be."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import checkpoints
import mobilenets
from converters.image_sizes import DEFAULT_IMAGE_SIZE
from converters.parity.comparison import compare_outputs
from converters.parity.exact import Exact, relative_error
from converters.parity.outputs import in_dtype
from converters.runtimes.network_cache import (
    Verdict,
    converted_file,
    network_file,
    read_verdict,
    verdict_file,
    write_verdict,
)
from converters.runtimes.table import CHOICES, RUNTIMES, usable_cores
from mobilenets.backend import BACKENDS
from mobilenets.nesting import all_layers

SEED = 20180801
# Images on which a runtime is compared with the exact model.
COMPARED = 4


@dataclass(frozen=True)
class Inference:
    """A function from images to a model's outputs, and the runtime that computes it.

    Attributes:
        run: From an array ``(count, height, width, 3)``, as the model takes it, to outputs as arrays.
        runtime: "keras", "tensorflow", "jax", "torch", "litert", "onnx" or "openvino".
        error: The largest difference from the exact model on the compared images, relative to the largest exact value;
            None if the outputs were not compared.
        bound: The largest ``error`` that is allowed; None likewise.
        from_keras: The largest difference from the Keras model in float32, relative to its largest value; None
            likewise.
        notes: Which runtime computes and how exact it is; and why others do not.
        file: The converted network that computes, usually in the cache folder; None without one.
    """

    run: Callable[[np.ndarray], Any]
    runtime: str
    error: float | None = None
    bound: float | None = None
    from_keras: float | None = None
    notes: tuple[str, ...] = ()
    file: Path | None = None

    def __call__(self, images: np.ndarray) -> Any:
        """Returns the outputs for a batch of images."""
        return self.run(images)


def check_runtime(runtime: str, threads: int | None) -> None:
    """Checks the arguments.

    Raises:
        ValueError: The runtime is unknown or another backend than that of Keras, or the number of threads is below 1.
    """
    backend = keras.backend.backend()
    if runtime not in CHOICES:
        raise ValueError(f"runtime must be one of {', '.join(CHOICES)}, not {runtime!r}.")
    if runtime in BACKENDS and runtime != backend:
        raise ValueError(
            f"The runtime {runtime} needs Keras on that backend, and Keras runs on {backend}: set "
            f"KERAS_BACKEND={runtime}."
        )
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads!r}.")


def converted_inference(
    model: keras.Model, runtime: str, threads: int | None, images: np.ndarray | None
) -> tuple[Inference | None, tuple[str, ...]]:
    """Returns the first runtime of converted files that is exact enough.

    Args:
        model: A functional model.
        runtime: "auto", or a key of `RUNTIMES`.
        threads: Number of threads; by default that of the cores.
        images: As the model takes them; seeded noise by default.

    Returns:
        The function, or None if there is no such runtime; and a note for each runtime that failed.
    """
    reason = _unfit(model)
    if reason:
        return None, () if runtime == "auto" else (f"{runtime} cannot run the model: {reason}.",)
    names = [name for name in fastest_first(model) if not RUNTIMES[name].missing()] if runtime == "auto" else [runtime]
    judge = None
    notes: list[str] = []
    for name in names:
        missing = RUNTIMES[name].missing()
        if missing:
            extra = RUNTIMES[name].extra
            notes.append(f"{name} is not installed ({', '.join(missing)}): pip install 'mobilenets[{extra}]'.")
            continue
        try:
            with converted_file(model, RUNTIMES[name]) as path:
                run = RUNTIMES[name].load(path, threads or usable_cores())
                file = verdict_file(path, _compared(images), name, RUNTIMES[name].version())
                verdict = read_verdict(file)
                if verdict is None:
                    # The exact model takes seconds to build, so its verdict is kept.
                    judge = judge or _Judge(model, images)
                    verdict = judge.verdict(run)
                    write_verdict(file, verdict)
        except Exception as error:  # Converters and runtimes raise errors of many types.
            notes.append(f"{name} failed: {checkpoints.reason(error)}.")
            continue
        if not verdict.passed:
            notes.append(f"{name} is not used: it differs from the exact model by {verdict.error:.2g} of the "
                         f"largest output; {verdict.bound:.2g} is allowed.")  # fmt: skip
            continue
        compared = "noise" if images is None else f"the first {len(images[:COMPARED])} images"
        note = (
            f"The runtime is {name}: on {compared} it differs from the exact model by {verdict.error:.2g} of the "
            f"largest output ({verdict.bound:.2g} is allowed), and from Keras by {verdict.from_keras:.2g}."
        )
        return Inference(run, name, verdict.error, verdict.bound, verdict.from_keras, (*notes, note), path), ()
    return None, tuple(notes)


def fastest_first(model: keras.Model) -> list[str]:
    """Returns the runtimes of converted files in the order of their speed, as ``make bench ONLY=latency`` measures it.

    LiteRT has the fastest depthwise convolutions. Of a network without them, Inception V2, it takes 1.5 times the time
    of OpenVINO.
    """
    names = list(RUNTIMES)
    return names if any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in all_layers(model)) else names[::-1]


def is_compared(model: keras.Model, images: np.ndarray | None) -> bool:
    """Returns whether the cache holds the network for an installed runtime, compared on these images."""
    if _unfit(model):
        return False
    for name, runtime in RUNTIMES.items():
        if not runtime.missing():
            file = verdict_file(network_file(model, runtime), _compared(images), name, runtime.version())
            verdict = read_verdict(file)
            if verdict is not None and verdict.passed:
                return True
    return False


def _compared(images: np.ndarray | None) -> np.ndarray | None:
    return None if images is None else np.asarray(images[:COMPARED], np.float32)


def _unfit(model: keras.Model) -> str | None:
    """Returns why a model cannot be converted; None if it can."""
    if keras.backend.backend() != "tensorflow":
        return f"Keras runs on {keras.backend.backend()}, and only its TensorFlow backend is converted"
    if not isinstance(model.output, keras.KerasTensor):
        return "it has several outputs"
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[0] is not None:
        return "its input is not a batch of images of any count"
    dtypes = {layer.compute_dtype for layer in model.layers} | {model.inputs[0].dtype}
    return None if dtypes == {"float32"} else f"it computes in {', '.join(sorted(dtypes))}"


class _Judge:
    """Compares outputs with those of the exact model, by the rule of `converters.verify`."""

    def __init__(self, model: keras.Model, images: np.ndarray | None):
        if images is None:
            sides = [side or DEFAULT_IMAGE_SIZE for side in model.input_shape[1:3]]
            images = np.random.default_rng(SEED).uniform(size=(2, *sides, model.input_shape[3]))
        self.images = np.asarray(images[:COMPARED], np.float32)
        values = _outputs(in_dtype(model, "float64"), self.images.astype(np.float64))
        self.own = _outputs(model, self.images)
        fused = _outputs(mobilenets.fuse(model), self.images)
        rounding = max(relative_error(self.own, values), relative_error(fused, values))
        self.exact = Exact({"output": values}, {"output": rounding})

    def verdict(self, run: Callable[[np.ndarray], np.ndarray]) -> Verdict:
        outputs = run(self.images)
        (row,) = compare_outputs(self.exact, {"output": outputs})
        numbers = (row.reference_error, row.bound, relative_error(outputs, self.own))
        return Verdict(bool(row.passed), *map(float, numbers))


def _outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))
