"""Makes and runs folders with transformers, in processes without TensorFlow: the two can crash each other in one.

``python -m tests.transformers_models make FAMILY FOLDER CONFIG`` writes a folder with random weights, and
``python -m tests.transformers_models run FOLDER IMAGES OUTPUTS`` computes logits or pooled features.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("transformers", "torch")),
    reason="the extra `transformers` is not installed",
)


def make(family, folder, classifier=True, **config):
    """Writes a folder with ``save_pretrained``; weights and statistics are random."""
    _process("make", family, folder, json.dumps(config), "classifier" if classifier else "base")


def run(folder, images):
    """Outputs of ``from_pretrained(folder)`` for images (batch, height, width, 3) in [-1, 1], and its processor."""
    np.save(folder.with_suffix(".in.npy"), images)
    _process("run", folder, folder.with_suffix(".in.npy"), folder.with_suffix(".out.npy"))
    return np.load(folder.with_suffix(".out.npy"))


def _process(*arguments):
    command = [sys.executable, "-m", "tests.transformers_models", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def _make(family, folder, config, kind):
    import torch
    import transformers

    torch.manual_seed(0)
    name = {"mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2"}[family]
    ending = "ForImageClassification" if kind == "classifier" else "Model"
    model = getattr(transformers, name + ending)(getattr(transformers, f"{name}Config")(**json.loads(config)))
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith(("running_var", "normalization.weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 4:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif tensor.ndim:
                tensor.normal_(0, 0.1)
    model.save_pretrained(folder)


def _run(folder, taken, given):
    import torch
    import transformers

    classifies = (
        "ForImageClassification" in json.loads(pathlib.Path(folder, "config.json").read_text())["architectures"][0]
    )
    kind = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    model = kind.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(np.load(taken)).permute(0, 3, 1, 2))
    np.save(given, (outputs.logits if classifies else outputs.pooler_output).numpy())


if __name__ == "__main__":
    {"make": _make, "run": _run}[sys.argv[1]](*sys.argv[2:])
