"""The export formats: how their files are named, and the packages that they need; nothing here imports Keras."""

import importlib.util
from typing import NamedTuple

from converters.parity.transformers_run import PACKAGES as FOR_TRANSFORMERS


class Files(NamedTuple):
    """What is written in a format.

    Attributes:
        suffixes: of the files that it consists of, the named one first; none for a folder.
        packages: modules to be installed, beyond what this package needs; the extra has the name of the format.
    """

    suffixes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


FILES = {
    "savedmodel": Files(),
    "litert": Files((".tflite",), ("ai_edge_litert",)),
    "onnx": Files((".onnx",), ("onnx", "tf2onnx", "onnxruntime")),
    # Keras's exporter imports scipy with its OpenVINO backend, and does not say so.
    "openvino": Files((".xml", ".bin"), ("openvino", "scipy")),
    "keras-applications": Files((".h5",)),
    "transformers": Files(packages=FOR_TRANSFORMERS),
    "hub": Files(),
    "safetensors": Files((".safetensors",)),
}


def missing_packages(name: str) -> list[str]:
    """Returns the packages of a format that are not installed."""
    return [package for package in FILES[name].packages if importlib.util.find_spec(package) is None]
