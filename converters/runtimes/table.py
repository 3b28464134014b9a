"""The table of runtimes that run a converted file; Keras, TensorFlow and NumPy are imported by its functions only."""

import importlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mobilenets.backend import BACKENDS

if TYPE_CHECKING:
    import numpy as np

Function = Callable[["np.ndarray"], "np.ndarray"]


class Runtime(NamedTuple):
    """A runtime of converted files.

    Attributes:
        format: Key of `converters.exporting.formats.FORMATS`, which writes its files.
        suffix: Suffix of the file that it opens.
        packages: Modules that run the file.
        writers: Modules that are needed to write it, beyond this package's own.
        load: Makes a function from a float32 batch to an array, of a file and a number of threads.
        extra: The extra of this package that installs it.
    """

    format: str
    suffix: str
    packages: tuple[str, ...]
    writers: tuple[str, ...]
    load: Callable[[Path, int], Function]
    extra: str

    def missing(self) -> list[str]:
        """Returns the modules that are not installed."""
        return _missing((*self.packages, *self.writers))

    def missing_packages(self) -> list[str]:
        """Returns the modules that are not installed, of those that run a file."""
        return _missing(self.packages)

    def version(self) -> str:
        """Returns the versions of the modules that run the file."""
        return " ".join(getattr(importlib.import_module(name), "__version__", "") for name in self.packages)


def _missing(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_litert(path: Path, threads: int) -> Function:
    """Loads a ``.tflite`` file: a single image on all threads, the images of a batch on an interpreter per thread."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    opened: dict[tuple, Function] = {}

    def interpreter(number: int, count: int, shape: tuple[int, ...]) -> Function:
        key = (number, count, shape)
        if key not in opened:
            one = Interpreter(str(path), num_threads=count)
            source = one.get_input_details()[0]["index"]
            if tuple(one.get_input_details()[0]["shape"]) != (1, *shape):
                one.resize_tensor_input(source, (1, *shape))
            one.allocate_tensors()
            result = one.get_output_details()[0]["index"]

            def run(image: np.ndarray) -> np.ndarray:
                one.set_tensor(source, image)
                one.invoke()
                return one.get_tensor(result)

            opened[key] = run
        return opened[key]

    pool = ThreadPoolExecutor(threads)

    def infer(images: np.ndarray) -> np.ndarray:
        shape = images.shape[1:]
        if len(images) == 1 or threads == 1:
            run = interpreter(0, threads, shape)
            return np.concatenate([run(images[n : n + 1]) for n in range(len(images))])
        runs = [interpreter(number, 1, shape) for number in range(threads)]

        def share(number: int) -> list[np.ndarray]:
            return [runs[number](images[n : n + 1]) for n in range(number, len(images), threads)]

        shares = list(pool.map(share, range(threads)))
        return np.concatenate([shares[n % threads][n // threads] for n in range(len(images))])

    return infer


def load_onnx(path: Path, threads: int) -> Function:
    """Loads an ``.onnx`` file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def load_openvino(path: Path, threads: int) -> Function:
    """Loads an ``.xml`` file, to compute in float32: by default OpenVINO takes bfloat16 where the processor can."""
    import numpy as np
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    # A copy: the tensor belongs to the request, which the next call overwrites.
    return lambda images: np.array(compiled(images)[0])


RUNTIMES = {
    "litert": Runtime("litert", ".tflite", ("ai_edge_litert",), (), load_litert, "litert"),
    "onnx": Runtime("onnx", ".onnx", ("onnxruntime",), ("onnx", "tf2onnx"), load_onnx, "onnx"),
    "openvino": Runtime("openvino", ".xml", ("openvino",), ("scipy",), load_openvino, "openvino"),
}
"""Fastest first on depthwise convolutions; see `converters.runtimes.choice.fastest_first`."""

CHOICES = ("auto", "keras", *BACKENDS, *RUNTIMES)
