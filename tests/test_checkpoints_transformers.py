"""Folders of transformers, written here from the names and layouts that transformers has."""

import json
import pickle
import sys

import numpy as np
import pytest
import safetensors.numpy

import checkpoints
import converters
from converters.parity import transformers_run

V1_STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
V2_WIDTHS = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
CONFIGS = {
    "mobilenet_v1": {"model_type": "mobilenet_v1", "depth_multiplier": 0.25, "image_size": 128},
    "mobilenet_v2": {"model_type": "mobilenet_v2", "depth_multiplier": 0.5, "image_size": 96},
}


def convolutions(family):
    """(module, shape of its kernel) in transformers, for the multipliers above."""
    if family == "mobilenet_v1":
        depth, width = 32, 8
        yield "conv_stem", (8, 3, 3, 3)
        for block, stride in enumerate(V1_STRIDES):
            depth *= 2 if stride == 2 or block == 0 else 1
            yield f"layer.{2 * block}", (width, 1, 3, 3)
            yield f"layer.{2 * block + 1}", (depth // 4, width, 1, 1)
            width = depth // 4
        return
    # Half the widths, as multiples of 8; none below 90% of the exact half.
    widths = [{16: 8, 24: 16, 32: 16, 64: 32, 96: 48, 160: 80, 320: 160}[width] for width in V2_WIDTHS]
    yield "conv_stem.first_conv", (16, 3, 3, 3)
    yield "conv_stem.conv_3x3", (16, 1, 3, 3)
    yield "conv_stem.reduce_1x1", (8, 16, 1, 1)
    for block in range(16):
        inner = 6 * widths[block]
        yield f"layer.{block}.expand_1x1", (inner, widths[block], 1, 1)
        yield f"layer.{block}.conv_3x3", (inner, 1, 3, 3)
        yield f"layer.{block}.reduce_1x1", (widths[block + 1], inner, 1, 1)
    yield "conv_1x1", (1280, 160, 1, 1)


def tensors(family, prefix=True, classes=7):
    random = np.random.default_rng(3)
    start = f"{family}." if prefix else ""
    made = {}
    for module, shape in convolutions(family):
        made[f"{start}{module}.convolution.weight"] = random.normal(size=shape).astype(np.float32)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            values = random.uniform(0.5, 1.5, size=shape[0]).astype(np.float32)
            made[f"{start}{module}.normalization.{leaf}"] = values
        made[f"{start}{module}.normalization.num_batches_tracked"] = np.array(0)
        last = shape[0]
    if classes:
        made["classifier.weight"] = random.normal(size=(classes, last)).astype(np.float32)
        made["classifier.bias"] = random.normal(size=classes).astype(np.float32)
    return made


def labels(count):
    return {"id2label": {str(index): f"LABEL_{index}" for index in range(count)}}


def write(folder, family, made=None, **config):
    folder.mkdir(exist_ok=True)
    fields = {**CONFIGS[family], **labels(7), **config}
    (folder / "config.json").write_text(json.dumps(fields))
    safetensors.numpy.save_file(
        tensors(family) if made is None else made, folder / "model.safetensors", {"format": "pt"}
    )
    return folder


# Of each kind of layer one: key, slim name, and the order of the axes (h, w, in, out) in PyTorch's tensor.
SAMPLES = {
    "mobilenet_v1": [
        ("conv_stem.convolution.weight", "MobilenetV1/Conv2d_0/weights", "oihw->hwio"),
        ("layer.0.convolution.weight", "MobilenetV1/Conv2d_1_depthwise/depthwise_weights", "cmhw->hwcm"),
        ("layer.25.convolution.weight", "MobilenetV1/Conv2d_13_pointwise/weights", "oihw->hwio"),
        ("layer.24.normalization.weight", "MobilenetV1/Conv2d_13_depthwise/BatchNorm/gamma", "c->c"),
        ("layer.3.normalization.running_var", "MobilenetV1/Conv2d_2_pointwise/BatchNorm/moving_variance", "c->c"),
    ],
    "mobilenet_v2": [
        ("conv_stem.first_conv.convolution.weight", "MobilenetV2/Conv/weights", "oihw->hwio"),
        (
            "conv_stem.conv_3x3.convolution.weight",
            "MobilenetV2/expanded_conv/depthwise/depthwise_weights",
            "cmhw->hwcm",
        ),
        ("conv_stem.reduce_1x1.normalization.bias", "MobilenetV2/expanded_conv/project/BatchNorm/beta", "c->c"),
        ("layer.0.expand_1x1.convolution.weight", "MobilenetV2/expanded_conv_1/expand/weights", "oihw->hwio"),
        (
            "layer.15.conv_3x3.convolution.weight",
            "MobilenetV2/expanded_conv_16/depthwise/depthwise_weights",
            "cmhw->hwcm",
        ),
        (
            "layer.7.reduce_1x1.normalization.running_mean",
            "MobilenetV2/expanded_conv_8/project/BatchNorm/moving_mean",
            "c->c",
        ),
        ("conv_1x1.convolution.weight", "MobilenetV2/Conv_1/weights", "oihw->hwio"),
    ],
}


@pytest.mark.parametrize("family", CONFIGS)
def test_names_and_layouts(family, tmp_path):
    made = tensors(family)
    scope = {"mobilenet_v1": "MobilenetV1", "mobilenet_v2": "MobilenetV2"}[family]
    with checkpoints.open_variables(write(tmp_path / "x", family)) as variables:
        assert (variables.format, variables.checked) == ("transformers", False)
        assert [file.name for file in variables.files] == ["config.json", "model.safetensors"]
        assert len(variables) == sum("num_batches" not in key for key in made)
        for key, name, axes in SAMPLES[family]:
            np.testing.assert_array_equal(variables[name], np.einsum(axes, made[f"{family}.{key}"]), strict=True)
        kernel = variables[f"{scope}/Logits/Conv2d_1c_1x1/weights"]
        np.testing.assert_array_equal(kernel, made["classifier.weight"].T[None, None], strict=True)
        np.testing.assert_array_equal(variables[f"{scope}/Logits/Conv2d_1c_1x1/biases"], made["classifier.bias"])


@pytest.mark.parametrize("family", CONFIGS)
def test_a_folder_is_converted_with_its_image_size_and_an_account(family, tmp_path):
    conversion = converters.conversion_of(write(tmp_path / "x", family))
    size = CONFIGS[family]["image_size"]
    assert conversion.model.input_shape == (None, size, size, 3) and conversion.model.output_shape == (None, 7)
    assert conversion.configuration["depth_multiplier"] == CONFIGS[family]["depth_multiplier"]
    values = {"mobilenet_v1": "plain", "mobilenet_v2": "averaged"}[family]
    assert any(f"Google's folders of {family} for transformers have {values} values" in n for n in conversion.notes)
    assert any("has no checksums" in note for note in conversion.notes)


def test_a_conversion_says_that_transformers_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers_run, "is_installed", lambda: False)
    conversion = converters.conversion_of(write(tmp_path / "x", "mobilenet_v1"))
    manifest = converters.save_model(conversion, tmp_path / "model.keras")
    assert "bit for bit" in manifest["verification"]["weights"]["result"]
    assert "transformers is not installed" in manifest["verification"]["outputs"]["result"]


def test_a_network_without_a_classifier(tmp_path):
    made = tensors("mobilenet_v1", prefix=False, classes=0)
    conversion = converters.conversion_of(write(tmp_path / "x", "mobilenet_v1", made, image_size=[96, 64]))
    assert conversion.configuration["head"] == "feature_vector"
    assert conversion.model.input_shape == (None, 96, 64, 3)


def test_the_output_stride_of_v2_is_built(tmp_path):
    conversion = converters.conversion_of(write(tmp_path / "x", "mobilenet_v2", output_stride=8), head="feature_map")
    assert conversion.configuration["output_stride"] == 8
    assert conversion.model.output_shape == (None, 12, 12, 1280)


def test_missing_and_left_over_tensors_are_listed(tmp_path):
    made = tensors("mobilenet_v2")
    del made["mobilenet_v2.layer.3.conv_3x3.convolution.weight"]
    made["segmentation_head.bias"] = np.zeros(3, np.float32)
    with pytest.raises(checkpoints.CheckpointError) as error:
        checkpoints.open_variables(write(tmp_path / "x", "mobilenet_v2", made))
    assert "1 missing (-), 1 left over (+)" in str(error.value)
    assert "\n- mobilenet_v2.layer.3.conv_3x3.convolution.weight\n+ segmentation_head.bias (3,)" in str(error.value)


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("mobilenet_v1", {"model_type": "vit"}, "has the model_type 'vit', but only mobilenet_v1 and mobilenet_v2"),
        ("mobilenet_v1", {"tf_padding": False}, "has tf_padding false, but only true is supported"),
        ("mobilenet_v1", {"hidden_act": "relu"}, 'has hidden_act "relu", but only "relu6" is supported'),
        ("mobilenet_v2", {"layer_norm_eps": 1e-5}, "has layer_norm_eps 1e-05, but only 0.001 is supported"),
        ("mobilenet_v2", {"num_channels": 1}, "has num_channels 1, but only 3 is supported"),
        ("mobilenet_v2", {"first_layer_is_expansion": False}, "has first_layer_is_expansion false"),
        ("mobilenet_v2", {"depth_multiplier": "1"}, 'has depth_multiplier "1", but expected is a number above 0'),
        ("mobilenet_v2", {"image_size": "big"}, 'has image_size "big"'),
        (
            "mobilenet_v2",
            {"depth_multiplier": 1.0},
            "is contradictory: by config.json, MobilenetV2/Conv/weights has 32",
        ),
        ("mobilenet_v2", {"expand_ratio": 4.0}, "is contradictory: .*expanded_conv_1/expand/weights has 32"),
        ("mobilenet_v2", {"finegrained_output": False}, "is contradictory: .*Conv_1/weights has 640"),
        ("mobilenet_v1", {"min_depth": 16}, "is contradictory: .*Conv2d_0/weights has 16"),
        ("mobilenet_v1", labels(3), "is contradictory: config.json has 3 labels, but its classifier 7"),
    ],
)
def test_configurations_that_are_refused(family, config, message, tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.open_variables(write(tmp_path / "x", family, **config))


def test_an_output_stride_that_cannot_be_built(tmp_path):
    with pytest.raises(converters.ConversionError, match="strides that cannot be built"):
        converters.conversion_of(write(tmp_path / "x", "mobilenet_v2", output_stride=2))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": ' * 100_000])
def test_a_damaged_configuration(tmp_path, content):
    folder = write(tmp_path / "x", "mobilenet_v1")
    (folder / "config.json").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match=r"config\.json is damaged"):
        checkpoints.open_variables(folder)


def test_a_folder_without_weights(tmp_path):
    folder = write(tmp_path / "x", "mobilenet_v1")
    (folder / "model.safetensors").unlink()
    with pytest.raises(checkpoints.CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        checkpoints.open_variables(folder)


def test_weights_in_half_precision_widen_exactly(tmp_path):
    made = {key: array.astype(np.float16) if array.ndim else array for key, array in tensors("mobilenet_v1").items()}
    variables = converters.slim_variables(converters.convert(write(tmp_path / "x", "mobilenet_v1", made)))
    found = variables["MobilenetV1/Conv2d_0/weights"]
    np.testing.assert_array_equal(
        found, np.einsum("oihw->hwio", made["mobilenet_v1.conv_stem.convolution.weight"]).astype(np.float32)
    )


def only_pickle(tmp_path, content):
    folder = write(tmp_path / "x", "mobilenet_v1")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    return folder


def test_a_pickle_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(checkpoints.CheckpointError, match=r"PyTorch is not installed: pip install 'mobilenets\[tr"):
        checkpoints.open_variables(only_pickle(tmp_path, b""))


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was run')",)


def test_a_pickle_with_code_is_refused(tmp_path):
    pytest.importorskip("torch", reason="the extra `transformers` is not installed")
    with pytest.raises(checkpoints.CheckpointError, match=r"pytorch_model\.bin is damaged, or is refused"):
        checkpoints.open_variables(only_pickle(tmp_path, pickle.dumps({"a": Hostile()})))


def test_a_pickle_of_tensors(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra `transformers` is not installed")
    expected = checkpoints.load_variables(write(tmp_path / "x", "mobilenet_v1"))
    folder = only_pickle(tmp_path, b"")
    state = {key: torch.from_numpy(array) for key, array in tensors("mobilenet_v1").items()}
    torch.save(state, folder / "pytorch_model.bin")
    found = checkpoints.load_variables(folder)
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
