"""Runs a folder of transformers in a process of its own: PyTorch and TensorFlow can crash each other in one.

The process imports neither TensorFlow nor Keras.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError

if TYPE_CHECKING:
    import numpy as np

PACKAGES = ("transformers", "torch")
BATCH = 32
SECONDS = 600


def is_installed() -> bool:
    """Returns whether transformers and PyTorch are installed."""
    return all(importlib.util.find_spec(package) is not None for package in PACKAGES)


def run_folder(folder: str | os.PathLike[str], images: "np.ndarray") -> dict[str, "np.ndarray"]:
    """Computes a folder's model as transformers loads it, with every weight in its place.

    Args:
        folder: with ``config.json``, the weights and ``preprocessor_config.json``, which may be missing.
        images: float ``(count, height, width, 3)`` in [-1, 1]; the first is computed alone, the others together.

    Returns:
        ``{endpoint: array}``, and ``default``: the logits, or the pooled features of a model without a classifier.

    Raises:
        ConversionError: transformers does not load the folder, or leaves out or makes up a weight.
    """
    import numpy as np

    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from converters.parity import transformers_run; "
        "transformers_run.main(*sys.argv[1:])"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with tempfile.TemporaryDirectory() as scratch:
        images_file, outputs_file = Path(scratch, "images.npy"), Path(scratch, "outputs.npz")
        np.save(images_file, images.astype(np.float32))
        ended = subprocess.run(
            [sys.executable, "-c", program, os.path.abspath(folder), images_file, outputs_file],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment,
            check=False,
        )
        if ended.returncode or not outputs_file.is_file():
            last = ended.stderr.strip().rpartition("\n")[2] or f"exit status {ended.returncode}"
            raise ConversionError(f"transformers does not run {folder}: {last}")
        with np.load(outputs_file, allow_pickle=False) as outputs:
            return dict(outputs)


def main(folder: str, images_file: str, outputs_file: str) -> None:
    """Loads the model, runs it on the images in ``images_file``, writes its endpoints; for the process."""
    import numpy as np
    import torch
    import transformers

    if Path(folder, "preprocessor_config.json").is_file():
        transformers.AutoImageProcessor.from_pretrained(folder)
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    classifies = any("ForImageClassification" in name for name in config.get("architectures") or ())
    kind = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    model, loading = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    for what, keys in loading.items():
        # The counters of batch norms take part in no computation.
        if wrong := [str(key) for key in keys if not str(key).endswith("num_batches_tracked")]:
            raise SystemExit(f"{what} are {', '.join(wrong[:3])}")
    model = model.float().eval()
    outputs: dict[str, Any] = {}

    def keep(name):
        # Feature maps are (batch, channels, height, width).
        return lambda _module, _inputs, output: outputs.update({name: output.permute(0, 2, 3, 1).numpy()})

    network = getattr(model, config["model_type"], model)
    for module, name in _endpoints(config["model_type"]):
        network.get_submodule(module).register_forward_hook(keep(name))
    images = torch.from_numpy(np.load(images_file, allow_pickle=False)).permute(0, 3, 1, 2)
    parts: list[dict[str, Any]] = []
    for batch in (images[:1], *images[1:].split(BATCH)):
        if len(batch):
            with torch.no_grad():
                result = model(batch)
            scope = next(iter(outputs)).partition("/")[0]
            last = {f"{scope}/Logits": result.logits.numpy()} if classifies else {}
            default = result.logits if classifies else result.pooler_output
            parts.append({**outputs, **last, "default": default.numpy()})
    together: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    np.savez(outputs_file, **together)


def _endpoints(family: str) -> Iterator[tuple[str, str]]:
    """Yields the pairs of a module and the endpoint that it computes."""
    if family == "mobilenet_v1":
        yield "conv_stem", "MobilenetV1/Conv2d_0"
        for index in range(26):
            yield f"layer.{index}", f"MobilenetV1/Conv2d_{index // 2 + 1}_{('depthwise', 'pointwise')[index % 2]}"
        yield "pooler", "MobilenetV1/global_pool"
        return
    yield "conv_stem.first_conv", "MobilenetV2/layer_1"
    for layer, block in enumerate(["conv_stem", *(f"layer.{index}" for index in range(16))], start=2):
        if layer > 2:
            yield f"{block}.expand_1x1", f"MobilenetV2/layer_{layer}/expansion_output"
        yield f"{block}.conv_3x3", f"MobilenetV2/layer_{layer}/depthwise_output"
        yield block, f"MobilenetV2/layer_{layer}/output"
        yield block, f"MobilenetV2/layer_{layer}"
    yield "conv_1x1", "MobilenetV2/layer_19"
    yield "pooler", "MobilenetV2/global_pool"
