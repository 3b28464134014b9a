"""The export formats: how their files are named, and the packages that they need; nothing here imports Keras."""

import importlib.util
from typing import NamedTuple

from converters.errors import ConversionError
from converters.parity.transformers_run import PACKAGES as FOR_TRANSFORMERS
from converters.tensorflow_extra import need_tensorflow


class Files(NamedTuple):
    """What is written in a format.

    Attributes:
        suffixes: of the files that it consists of, the named one first; none for a folder.
        packages: modules to be installed, beyond what this package needs; the extra has the name of the format.
        by_tensorflow: whether only Keras's TensorFlow backend writes it.
    """

    suffixes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    by_tensorflow: bool = True


FILES = {
    "savedmodel": Files(),
    "litert": Files((".tflite",), ("ai_edge_litert",)),
    "onnx": Files((".onnx",), ("onnx", "tf2onnx", "onnxruntime")),
    # Keras's exporter imports scipy with its OpenVINO backend, and does not say so.
    "openvino": Files((".xml", ".bin"), ("openvino", "scipy")),
    "keras-applications": Files((".h5",), by_tensorflow=False),
    "transformers": Files(packages=FOR_TRANSFORMERS, by_tensorflow=False),
    "hub": Files(),
    "safetensors": Files((".safetensors",), by_tensorflow=False),
}


def check_packages(name: str) -> None:
    """Refuses a format that needs packages which are not installed.

    Raises:
        ConversionError: they are named, with the extra that installs them.
    """
    if FILES[name].by_tensorflow:
        need_tensorflow(f"Exporting to {name}")
    if missing := [package for package in FILES[name].packages if importlib.util.find_spec(package) is None]:
        raise ConversionError(
            f"The format {name} needs packages that are not installed ({', '.join(missing)}): "
            f"pip install 'mobilenets[{name}]'."
        )
