"""Folders for Hugging Face's transformers: MobileNet V1 and V2 as ``from_pretrained`` loads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from checkpoints.transformers_folder import (
    CONFIG,
    WEIGHTS,
    to_torch,
    transformers_names,
    transformers_widths,
)
from converters.errors import ConversionError
from converters.exporting.networks import network_for
from converters.image_sizes import DEFAULT_IMAGE_SIZE
from converters.imagenet import imagenet_labels
from converters.parity.transformers_run import run_folder
from converters.weights import slim_variables
from mobilenets import PUBLISHED_CLASSES
from mobilenets.preprocessing import CENTRAL_FRACTION

LIBRARY = "transformers"
CLASSES = {"mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2"}
# Of the options on strides; MobileNet V1 has none in transformers.
STRIDES: dict[str, tuple[dict[str, int], ...]] = {
    "mobilenet_v2": ({}, {"output_stride": 4}, {"output_stride": 8}, {"output_stride": 16})
}


def check(model: keras.Model) -> None:
    """Refuses a model that transformers cannot build.

    Raises:
        ConversionError: it is of another family or has other options or widths.
    """
    _configuration(model)


def write_folder(model: keras.Model, path: Path, _images: np.ndarray | None = None) -> None:
    """Writes ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``."""
    family, config = _configuration(model)
    variables = slim_variables(model)
    names = transformers_names(family, classifier="id2label" in config)
    tensors = {key: np.ascontiguousarray(to_torch(name, variables[name])) for key, name in names.items()}
    path.mkdir()
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    processor = json.dumps(_preprocessor(family, config["image_size"]), indent=2)
    (path / "preprocessor_config.json").write_text(processor + "\n", encoding="utf-8")
    safetensors.numpy.save_file(tensors, path / WEIGHTS[0], {"format": "pt"})


def load_folder(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that loads the folder as its users do, in a process for each call."""
    return lambda images: run_folder(path, images)["default"]


def _configuration(model: keras.Model) -> tuple[str, dict[str, Any]]:
    """Returns the family, and what ``config.json`` has."""
    family, network = network_for(model, LIBRARY, STRIDES)
    if network["head"] == "feature_map":
        raise ConversionError(
            f"{model.name} gives a feature map; write it as a feature vector model, whose folder has the same weights "
            "and whose output `last_hidden_state` is the feature map."
        )
    height, width, _ = network["input_shape"]
    height, width = height or DEFAULT_IMAGE_SIZE, width or DEFAULT_IMAGE_SIZE
    is_classifier = network["head"] == "classification"
    config: dict[str, Any] = {
        "architectures": [CLASSES[family] + ("ForImageClassification" if is_classifier else "Model")],
        "model_type": family,
        "depth_multiplier": network["depth_multiplier"],
        "image_size": height if height == width else [height, width],
        "num_channels": 3,
        "min_depth": 8,
        "hidden_act": "relu6",
        "tf_padding": True,
        "layer_norm_eps": 0.001,
        "torch_dtype": "float32",
    }
    if family == "mobilenet_v2":
        config |= {
            "depth_divisible_by": 8,
            "expand_ratio": 6.0,
            "first_layer_is_expansion": True,
            "finegrained_output": not network["scale_last_layer"],
            "output_stride": network.get("output_stride") or 32,
        }
    if is_classifier:
        labels = _labels(network["num_classes"])
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        # Two labels of ImageNet name two classes each; the first one keeps the label.
        config["label2id"] = {label: index for index, label in reversed(list(enumerate(labels)))}
    _check_widths(model, family, config)
    return family, config


def _labels(num_classes: int) -> tuple[str, ...]:
    """ImageNet's labels for 1001 and 1000 classes; otherwise the names that transformers makes up."""
    if num_classes in (PUBLISHED_CLASSES, PUBLISHED_CLASSES - 1):
        return imagenet_labels()[-num_classes:]
    return tuple(f"LABEL_{index}" for index in range(num_classes))


def _check_widths(model: keras.Model, family: str, config: dict[str, Any]) -> None:
    variables = slim_variables(model)
    for name, width in transformers_widths(family, config).items():
        if variables[name].shape[-1] != width:
            raise ConversionError(
                f"transformers has other widths with depth_multiplier {config['depth_multiplier']:g}: {name} has "
                f"{variables[name].shape[-1]} output channels, and transformers gives it {width}."
            )


def _preprocessor(family: str, image_size: int | list[int]) -> dict[str, Any]:
    """Slim's preprocessing for evaluation: the central part of the image, bilinear, in [-1, 1]."""
    height, width = image_size if isinstance(image_size, list) else (image_size, image_size)
    return {
        "image_processor_type": f"{CLASSES[family]}ImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(max(height, width) / CENTRAL_FRACTION)},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
