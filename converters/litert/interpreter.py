"""Runs a LiteRT model on images; the program of the process that `converters.litert.reference` starts."""

import json
import pathlib
from typing import Any

import numpy as np


def serve(folder_name: str) -> None:
    """Reads ``request.json`` and ``images.npy`` in a folder and writes ``tensors.npz``."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    folder = pathlib.Path(folder_name)
    request = json.loads((folder / "request.json").read_text())
    interpreter = Interpreter(
        request["model"],
        # Delegates fuse operations, and so have not all tensors.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    collected: dict[int, list[np.ndarray]] = {index: [] for index in request["tensors"]}
    for image in np.load(folder / "images.npy", allow_pickle=False):
        interpreter.set_tensor(entry["index"], _quantized(image[np.newaxis], entry))
        interpreter.invoke()
        for index, arrays in collected.items():
            arrays.append(_dequantized(interpreter.get_tensor(index), details[index]))
    tensors: dict[str, Any] = {str(index): np.concatenate(arrays) for index, arrays in collected.items()}
    np.savez(folder / "tensors.npz", **tensors)


def _quantized(image: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or detail["dtype"] is np.float32:
        return image.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(image / scale + zero), limits.min, limits.max).astype(detail["dtype"])


def _dequantized(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or array.dtype == np.float32:
        return array.astype(np.float32)
    return ((array.astype(np.float64) - zero) * scale).astype(np.float32)
