"""Folders for transformers and from it: made and run by transformers itself, in processes of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

import checkpoints
import converters
from converters.cli import main
from converters.exporting import transformers_folder
from converters.parity.exact import exact_values
from tests import transformers_models
from tests.networks import CONSTRUCTORS, set_weights, slim_weights
from tests.oracle import made_up_images, made_up_variables
from tests.transformers_models import needs_transformers


def network(family: str, multiplier: float, **choices):
    model = CONSTRUCTORS[family](multiplier, **{"input_shape": (64, 64, 3), "num_classes": 11, **choices})
    set_weights(model, made_up_variables({name: tuple(weight.shape) for name, weight in slim_weights(model).items()}))
    return model


def assert_equal_outputs(model, folder, height=64, width=64):
    """By the rule of the proof: random weights of transformers round more than 1e-5 in float32."""
    images = made_up_images(height, width)
    exact = exact_values(model, images)
    expected, rounding = exact.values["default"], exact.rounding["default"]
    found = transformers_models.run(folder, 2 * images - 1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= max(1e-5, 4 * rounding) * np.abs(expected).max()


def assert_same_variables(model, folder):
    expected, found = converters.slim_variables(model), checkpoints.load_variables(folder)
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.mark.parametrize(("family", "multiplier"), [("mobilenet_v1", 0.75), ("mobilenet_v2", 1.4)])
def test_a_written_folder_is_read_again_bit_for_bit(family, multiplier, tmp_path):
    """Without transformers: only the file is written and read."""
    model = network(family, multiplier)
    transformers_folder.write_folder(model, tmp_path / "x")
    assert_same_variables(model, tmp_path / "x")
    conversion = converters.conversion_of(tmp_path / "x")
    assert conversion.configuration["depth_multiplier"] == multiplier
    assert conversion.model.input_shape == (None, 64, 64, 3)
    processor = json.loads((tmp_path / "x" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["crop_size"]) == ({"shortest_edge": 73}, {"height": 64, "width": 64})
    assert processor["image_mean"] == processor["image_std"] == [0.5] * 3


NETWORKS = [
    ("mobilenet_v2", 0.35, {}),
    ("mobilenet_v1", 0.25, {"num_classes": 1001, "input_shape": (65, 97, 3)}),
    ("mobilenet_v1", 0.5, {"head": "feature_vector", "rescale_inputs": True}),
    ("mobilenet_v1", 1.0, {}),
    ("mobilenet_v2", 0.35, {"output_stride": 8, "input_shape": (65, 97, 3)}),
    ("mobilenet_v2", 0.35, {"output_stride": 16}),
    ("mobilenet_v2", 0.5, {"scale_last_layer": True}),
    ("mobilenet_v2", 0.75, {"head": "feature_vector"}),
    ("mobilenet_v2", 1.3, {}),
]


@needs_transformers
@pytest.mark.parametrize(("family", "multiplier", "choices"), NETWORKS)
def test_transformers_computes_the_same(family, multiplier, choices, tmp_path):
    model = network(family, multiplier, **choices)
    result = converters.export(model, tmp_path / "x", "transformers")
    assert result.max_relative <= 1e-5 and result.runtime.startswith("transformers ")
    assert_same_variables(model, tmp_path / "x")
    assert_equal_outputs(model, tmp_path / "x", *model.input_shape[1:3])


MADE = [
    ("mobilenet_v1", {"depth_multiplier": 0.25, "image_size": 96, "num_labels": 1001}),
    ("mobilenet_v1", {"depth_multiplier": 0.5, "image_size": 64, "num_labels": 5}),
    ("mobilenet_v1", {"depth_multiplier": 1.0, "image_size": 96, "num_labels": 1001}),
    ("mobilenet_v2", {"depth_multiplier": 0.35, "image_size": 96, "num_labels": 3}),
    ("mobilenet_v2", {"depth_multiplier": 1.4, "image_size": 64, "num_labels": 1001}),
    ("mobilenet_v2", {"depth_multiplier": 0.5, "image_size": 65, "finegrained_output": False, "output_stride": 16}),
    ("mobilenet_v2", {"depth_multiplier": 0.5, "image_size": 96, "output_stride": 8}),
]


@needs_transformers
@pytest.mark.parametrize(("family", "config"), MADE)
def test_folders_that_transformers_makes(family, config, tmp_path):
    transformers_models.make(family, tmp_path / "x", **config)
    conversion = converters.conversion_of(tmp_path / "x")
    size = config["image_size"]
    assert conversion.model.input_shape == (None, size, size, 3)
    assert conversion.configuration["depth_multiplier"] == config["depth_multiplier"]
    assert_equal_outputs(conversion.model, tmp_path / "x", size, size)
    tensors = safetensors.numpy.load_file(tmp_path / "x" / "model.safetensors")
    expected = sum(array.size for key, array in tensors.items() if "num_batches_tracked" not in key)
    assert expected == sum(array.size for array in converters.slim_variables(conversion.model).values())


@needs_transformers
def test_the_network_alone(tmp_path):
    transformers_models.make("mobilenet_v2", tmp_path / "x", classifier=False, depth_multiplier=0.35, image_size=64)
    conversion = converters.conversion_of(tmp_path / "x")
    assert conversion.configuration["head"] == "feature_vector"
    assert_equal_outputs(conversion.model, tmp_path / "x")


@needs_transformers
@pytest.mark.parametrize(
    ("family", "endpoints"), [("mobilenet_v1", "29 of the model's"), ("mobilenet_v2", "71 of the model's")]
)
def test_the_command_compares_with_transformers(family, endpoints, tmp_path):
    transformers_models.make(family, tmp_path / "x", depth_multiplier=0.5, image_size=64, num_labels=5)
    arguments = ["convert", str(tmp_path / "x"), "-o", str(tmp_path / "model.keras"), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "converters.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    outputs = json.loads(ended.stdout)["verification"]["outputs"]
    assert endpoints in outputs["result"]
    assert "The reference was computed by transformers in float32." in outputs["notes"]


@needs_transformers
def test_a_folder_whose_weights_transformers_does_not_find(tmp_path):
    transformers_folder.write_folder(network("mobilenet_v1", 0.25), tmp_path / "x")
    tensors = safetensors.numpy.load_file(tmp_path / "x" / "model.safetensors")
    del tensors["mobilenet_v1.layer.3.normalization.bias"]
    safetensors.numpy.save_file(tensors, tmp_path / "x" / "model.safetensors", {"format": "pt"})
    with pytest.raises(converters.ConversionError, match=r"transformers does not run .*missing_keys are mob.*3.norm"):
        transformers_folder.load_folder(tmp_path / "x")(np.zeros((1, 64, 64, 3), np.float32))


@pytest.mark.parametrize(
    ("family", "multiplier", "choices", "sentence"),
    [
        ("inception_v2", 0.5, {}, "transformers has no inception_v2"),
        ("mobilenet_v1", 0.25, {"output_stride": 16}, "is not a network that transformers has: 2 layers differ"),
        ("mobilenet_v2", 0.35, {"first_stride": 1}, "is not a network that transformers has: 1 layers differ"),
        (
            "mobilenet_v2",
            1.4,
            {"scale_last_layer": False},
            "other widths with depth_multiplier 1.4: MobilenetV2/Conv_1",
        ),
        ("mobilenet_v2", 0.27, {}, r"other widths with depth_multiplier 0\.27: MobilenetV2/Conv/weights has 8 output"),
        ("mobilenet_v1", 0.25, {"head": "feature_map"}, "write it as a feature vector model"),
    ],
)
def test_what_transformers_cannot_build(family, multiplier, choices, sentence):
    model = CONSTRUCTORS[family](multiplier, **{"input_shape": (64, 64, 3), "num_classes": 3, **choices})
    with pytest.raises(converters.ConversionError, match=sentence):
        transformers_folder.check(model)


@needs_transformers
def test_the_export_command(tmp_path):
    network("mobilenet_v1", 0.25).save(tmp_path / "model.keras")
    arguments = ["export", str(tmp_path / "model.keras"), str(tmp_path / "x"), "--format", "transformers"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "was run with transformers" in result.stdout
    assert sorted(file.name for file in (tmp_path / "x").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    (tmp_path / "mine").mkdir()
    arguments[2] = str(tmp_path / "mine")
    refused = CliRunner().invoke(main, [*arguments, "--force"])
    assert refused.exit_code == 2 and "is not a folder with config.json" in refused.stderr
