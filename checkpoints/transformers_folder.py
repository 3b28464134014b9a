"""The variables of a folder that Hugging Face's transformers writes for MobileNet V1 or V2, by their slim names.

The folder has ``config.json`` and ``model.safetensors``, its shards or ``pytorch_model.bin``. Names, layouts
and the rules of the widths are those of transformers' ``modeling_mobilenet_v1.py`` and ``modeling_mobilenet_v2.py``.
The momentum of its batch norms has PyTorch's meaning (the share of the new value) and is not read.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from checkpoints.errors import CheckpointError, reason
from checkpoints.inputs import read_json
from checkpoints.variable_file import Spec, VariableFile

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
FAMILIES = {"mobilenet_v1": "MobilenetV1", "mobilenet_v2": "MobilenetV2"}
# What the networks of this project have, which are also transformers' own defaults.
_FIXED: dict[str, object] = {"num_channels": 3, "hidden_act": "relu6", "tf_padding": True, "layer_norm_eps": 0.001}
_FIXED_V2 = _FIXED | {"first_layer_is_expansion": True}
_NUMBERS = {"depth_multiplier": 1.0, "min_depth": 8}
_NUMBERS_V2 = _NUMBERS | {"depth_divisible_by": 8, "expand_ratio": 6.0, "output_stride": 32}
_WIDTHS_V1 = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_WIDTHS_V2 = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
_LEAVES = {
    "normalization.weight": "BatchNorm/gamma",
    "normalization.bias": "BatchNorm/beta",
    "normalization.running_mean": "BatchNorm/moving_mean",
    "normalization.running_var": "BatchNorm/moving_variance",
}
# A counter of PyTorch's batch norms, which no computation uses.
_COUNTER = "normalization.num_batches_tracked"


class Config(NamedTuple):
    """What ``config.json`` says of the network.

    Attributes:
        family: "mobilenet_v1" or "mobilenet_v2".
        fields: the whole file, with transformers' defaults for the numbers that it lacks.
        image_size: height and width.
        output_stride: 2, 4, 8 or 16 where the network is dilated; None otherwise.
    """

    family: str
    fields: Mapping[str, Any]
    image_size: tuple[int, int]
    output_stride: int | None


def is_transformers_folder(path: Path) -> bool:
    """Returns whether ``path`` is a folder with a ``config.json`` of transformers."""
    if not (path / CONFIG).is_file():
        return False
    try:
        return "model_type" in _read_json(path / CONFIG) or _has_weights(path)
    except CheckpointError:
        return _has_weights(path)


def transformers_folders_in(folder: Path) -> list[Path]:
    """Returns a folder and those below it that have a configuration and weights of transformers."""
    return [file.parent for file in sorted(folder.rglob(CONFIG)) if _has_weights(file.parent)]


def read_config(path: Path) -> Config:
    """Reads ``config.json``.

    Raises:
        CheckpointError: it is damaged, of another network, or has a value that these networks do not have.
    """
    file = path / CONFIG
    fields = _read_json(file)
    family = fields.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(f"{file} has the model_type {family!r}, but only {' and '.join(FAMILIES)} are supported.")
    fixed, numbers = (_FIXED, _NUMBERS) if family == "mobilenet_v1" else (_FIXED_V2, _NUMBERS_V2)
    for key, value in fixed.items():
        if fields.get(key, value) != value:
            raise CheckpointError(
                f"{file} has {key} {json.dumps(fields[key])}, but only {json.dumps(value)} is supported."
            )
    fields = numbers | fields
    for key in numbers:
        value = fields[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise CheckpointError(f"{file} has {key} {json.dumps(value)}, but expected is a number above 0.")
    # V1 has no output stride. A value that the product of the strides never equals changes nothing.
    stride = fields["output_stride"] if family == "mobilenet_v2" else None
    return Config(
        family, fields, _image_size(fields.get("image_size", 224), file), stride if stride in (2, 4, 8, 16) else None
    )


def open_transformers_folder(path: Path) -> VariableFile:
    """Opens the variables of a folder under their slim names and in slim's layout.

    Every tensor is used exactly once, except the counters of batch norms. A folder without a classifier has no logits.

    Raises:
        CheckpointError: a file is missing or damaged, a tensor is missing or left over, the configuration has a value
            that is not supported or contradicts the tensors, or PyTorch is needed and not installed.
    """
    config = read_config(path)
    with contextlib.ExitStack() as resources:
        tensors = resources.enter_context(_open_weights(path))
        file = Path(tensors.path)
        names = _slim_names(config.family, tensors, file)
        keys = {name: key for key, name in names.items()}
        specs = {}
        for key, name in names.items():
            shape, dtype = tensors.specs[key]
            expected = 1 if "/BatchNorm/" in name or name.endswith("biases") else 2 if "/Logits/" in name else 4
            if len(shape) != expected:
                raise CheckpointError(f"{file} has {key} of shape {shape}, but expected are {expected} dimensions.")
            # A stride of zero bytes: only the shape is computed.
            specs[name] = Spec(to_slim(name, np.broadcast_to(np.zeros((), dtype), shape)).shape, dtype)
        _check_widths(config, {name: spec.shape for name, spec in specs.items()}, path)
        return VariableFile(
            path,
            "transformers",
            (path / CONFIG, *tensors.files),
            specs,
            lambda name: np.ascontiguousarray(to_slim(name, tensors[keys[name]])),
            checked=False,
            image_size=config.image_size,
            resources=resources.pop_all(),
        )


def transformers_names(family: str, classifier: bool) -> dict[str, str]:
    """Returns ``{key of transformers: slim variable name}`` of a whole network.

    Args:
        family: one of `FAMILIES`.
        classifier: whether the network has logits. Keys of the network then begin with the family; without, the model
            is the network itself, and they have no prefix.
    """
    scope = FAMILIES[family]
    prefix = f"{family}." if classifier else ""
    names = {}
    for module, conv in _modules(family).items():
        kernel = "depthwise_weights" if conv.endswith("depthwise") else "weights"
        for leaf, slim in {"convolution.weight": kernel, **_LEAVES}.items():
            names[f"{prefix}{module}.{leaf}"] = f"{scope}/{conv}/{slim}"
    if classifier:
        logits = f"{scope}/Logits/Conv2d_1c_1x1"
        names |= {"classifier.weight": f"{logits}/weights", "classifier.bias": f"{logits}/biases"}
    return names


def to_slim(name: str, array: np.ndarray) -> np.ndarray:
    """Returns a tensor of PyTorch in slim's layout; ``name`` is its slim name."""
    if array.ndim == 4:  # (out, in, height, width); depthwise (channels, 1, height, width)
        return array.transpose((2, 3, 0, 1) if name.endswith("depthwise_weights") else (2, 3, 1, 0))
    return array.T[np.newaxis, np.newaxis] if array.ndim == 2 else array


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Returns a variable of slim in PyTorch's layout: the inverse of `to_slim`."""
    if name.endswith("Logits/Conv2d_1c_1x1/weights"):
        return array[0, 0].T
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if name.endswith("depthwise_weights") else (3, 2, 0, 1))
    return array


def transformers_widths(family: str, fields: Mapping[str, Any]) -> dict[str, int]:
    """Returns ``{slim name of a kernel: output channels}`` that transformers gives a network with these fields.

    V2 rounds the scaled width to an integer before it takes a multiple of 8; slim does not.
    """
    numbers = (_NUMBERS if family == "mobilenet_v1" else _NUMBERS_V2) | dict(fields)
    multiplier, least = numbers["depth_multiplier"], numbers["min_depth"]
    if family == "mobilenet_v1":
        widths = [max(int(width * multiplier), least) for width in (32, *_WIDTHS_V1)]
        points = ["Conv2d_0", *(f"Conv2d_{index}_pointwise" for index in range(1, 14))]
        return {f"MobilenetV1/{conv}/weights": width for conv, width in zip(points, widths, strict=True)}

    def divisible(value: int) -> int:
        divisor = numbers["depth_divisible_by"]
        rounded = max(least, int(value + divisor / 2) // divisor * divisor)
        return int(rounded + divisor if rounded < 0.9 * value else rounded)

    widths = [divisible(round(width * multiplier)) for width in _WIDTHS_V2]
    expected = {"Conv": divisible(round(32 * multiplier)), "expanded_conv/project": widths[0]}
    for index, width in enumerate(widths[1:], start=1):
        expected[f"expanded_conv_{index}/expand"] = divisible(round(widths[index - 1] * numbers["expand_ratio"]))
        expected[f"expanded_conv_{index}/project"] = width
    fine = numbers.get("finegrained_output", True) and multiplier < 1
    expected["Conv_1"] = 1280 if fine else divisible(round(1280 * multiplier))
    return {f"MobilenetV2/{conv}/weights": width for conv, width in expected.items()}


def _modules(family: str) -> dict[str, str]:
    """Returns ``{module of transformers: convolution of slim}``."""
    if family == "mobilenet_v1":
        parts = ("depthwise", "pointwise")
        layers = {f"layer.{index}": f"Conv2d_{index // 2 + 1}_{parts[index % 2]}" for index in range(26)}
        return {"conv_stem": "Conv2d_0"} | layers
    block = {"expand_1x1": "expand", "conv_3x3": "depthwise", "reduce_1x1": "project"}
    stem = {"first_conv": "Conv", "conv_3x3": "expanded_conv/depthwise", "reduce_1x1": "expanded_conv/project"}
    return {
        **{f"conv_stem.{module}": conv for module, conv in stem.items()},
        **{
            f"layer.{index}.{module}": f"expanded_conv_{index + 1}/{part}"
            for index in range(16)
            for module, part in block.items()
        },
        "conv_1x1": "Conv_1",
    }


def _slim_names(family: str, tensors: VariableFile, file: Path) -> dict[str, str]:
    """Returns ``{key in the file: slim name}``; every key has one, or else all differences are listed."""
    with_prefix = any(key.startswith(f"{family}.") for key in tensors)
    names = transformers_names(family, classifier=with_prefix)
    if with_prefix and not any(key.startswith("classifier.") for key in tensors):
        names = {key: name for key, name in names.items() if "/Logits/" not in name}
    counters = {key.replace("convolution.weight", _COUNTER) for key in names if key.endswith("convolution.weight")}
    missing, left_over = sorted(names.keys() - tensors.keys()), sorted(tensors.keys() - names.keys() - counters)
    if missing or left_over:
        lines = [f"- {key}" for key in missing] + [f"+ {key} {tensors.shapes[key]}" for key in left_over]
        counts = [f"{len(missing)} missing (-)"] * bool(missing) + [f"{len(left_over)} left over (+)"] * bool(left_over)
        raise CheckpointError("\n".join([f"{file} does not fit {family} of transformers: {', '.join(counts)}", *lines]))
    return names


def _check_widths(config: Config, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    widths = transformers_widths(config.family, config.fields)
    for name, width in widths.items():
        if shapes[name][-1] != width:
            raise CheckpointError(
                f"{path} is contradictory: by {CONFIG}, {name} has {width} output channels, but its tensor has "
                f"{shapes[name][-1]}."
            )
    logits = shapes.get(f"{FAMILIES[config.family]}/Logits/Conv2d_1c_1x1/biases")
    labels = config.fields.get("id2label", config.fields.get("num_labels"))
    # Two is the default of transformers.
    count = labels if isinstance(labels, int) else len(labels) if isinstance(labels, dict) else 2
    if logits and logits[0] != count:
        raise CheckpointError(f"{path} is contradictory: {CONFIG} has {count} labels, but its classifier {logits[0]}.")


def _has_weights(path: Path) -> bool:
    return any((path / name).is_file() for name in WEIGHTS)


def _open_weights(path: Path) -> VariableFile:
    from checkpoints.safetensors_file import open_safetensors
    from checkpoints.safetensors_shards import open_shards

    for name, open_file in zip(WEIGHTS, (open_safetensors, open_shards, _open_pickled), strict=True):
        if (path / name).is_file():
            return open_file(path / name)
    raise CheckpointError(f"{path} has a {CONFIG}, but neither {WEIGHTS[0]} nor {WEIGHTS[-1]} next to it.")


def _open_pickled(file: Path) -> VariableFile:
    """Reads a file of PyTorch with ``weights_only``, which runs no code of the file."""
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{file} is a pickle, which only PyTorch reads safely, and PyTorch is not installed: "
            "pip install 'mobilenets[transformers]', or get the folder with model.safetensors."
        ) from error
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
        arrays = {str(key): tensor.detach().contiguous().numpy() for key, tensor in tensors.items()}
    except Exception as error:  # PyTorch raises many types for a damaged or refused file
        raise CheckpointError(
            f"{file} is damaged, or is refused because it holds more than tensors: {reason(error)}."
        ) from error
    return dataclasses.replace(VariableFile.from_arrays(arrays, str(file)), files=(file,))


def _read_json(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is damaged: expected is a JSON object.")
    return content


def _image_size(value: Any, file: Path) -> tuple[int, int]:
    sizes = [value, value] if isinstance(value, int) else value
    if isinstance(sizes, list) and len(sizes) == 2 and all(type(size) is int and size >= 1 for size in sizes):
        return sizes[0], sizes[1]
    raise CheckpointError(f"{file} has image_size {json.dumps(value)}, but expected is an integer or two.")
