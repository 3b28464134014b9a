"""Widths at any multiplier, and strides at any output stride, compared with slim's formulas."""

import pytest

import mobilenets
from mobilenets import layer_name, slim_name
from mobilenets.atrous import atrous

GRID = [index / 100 for index in range(1, 301)]

V1_BASE = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
V2_BASE = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
INCEPTION_BASE = {
    "Conv2d_1a_7x7": [64],
    "Conv2d_2b_1x1": [64],
    "Conv2d_2c_3x3": [192],
    "Mixed_3b": [64, 64, 64, 64, 96, 96, 32],
    "Mixed_3c": [64, 64, 96, 64, 96, 96, 64],
    "Mixed_4a": [128, 160, 64, 96, 96],
    "Mixed_4b": [224, 64, 96, 96, 128, 128, 128],
    "Mixed_4c": [192, 96, 128, 96, 128, 128, 128],
    "Mixed_4d": [160, 128, 160, 128, 160, 160, 96],
    "Mixed_4e": [96, 128, 192, 160, 192, 192, 96],
    "Mixed_5a": [128, 192, 192, 256, 256],
    "Mixed_5b": [352, 192, 320, 160, 224, 224, 128],
    "Mixed_5c": [352, 192, 320, 192, 224, 224, 128],
}


def make_divisible(v, divisor=8, min_value=8):
    new_v = max(min_value, int(v + divisor / 2) // divisor * divisor)
    if new_v < 0.9 * v:
        new_v += divisor
    return new_v


@pytest.mark.parametrize("multiplier", GRID)
def test_v1_widths(multiplier):
    expected = {
        f"MobilenetV1/Conv2d_{index}" + ("_pointwise" if index else ""): max(int(base * multiplier), 8)
        for index, base in enumerate(V1_BASE)
    }
    assert mobilenets.widths("mobilenet_v1", multiplier) == expected


@pytest.mark.parametrize("scale_last_layer", [None, True, False])
@pytest.mark.parametrize("multiplier", GRID)
def test_v2_widths(multiplier, scale_last_layer):
    previous = make_divisible(32 * multiplier)
    expected = {"MobilenetV2/Conv": previous}
    for index, base in enumerate(V2_BASE):
        scope = f"MobilenetV2/expanded_conv{f'_{index}' if index else ''}"
        if index:
            expected[f"{scope}/expand"] = make_divisible(previous * 6)
        previous = expected[f"{scope}/project"] = make_divisible(base * multiplier)
    scaled = multiplier >= 1 if scale_last_layer is None else scale_last_layer
    expected["MobilenetV2/Conv_1"] = make_divisible(1280 * multiplier) if scaled else 1280
    assert mobilenets.widths("mobilenet_v2", multiplier, scale_last_layer) == expected


@pytest.mark.parametrize("multiplier", GRID)
def test_inception_widths(multiplier):
    actual = mobilenets.widths("inception_v2", multiplier)
    for name, base in INCEPTION_BASE.items():
        within = [width for scope, width in actual.items() if scope.split("/")[1] == name]
        assert within == [max(int(width * multiplier), 16) for width in base]
    assert len(actual) == sum(map(len, INCEPTION_BASE.values()))


def test_widths_that_other_ports_get_wrong():
    assert mobilenets.widths("mobilenet_v2", 0.28)["MobilenetV2/expanded_conv_6/project"] == 24
    assert mobilenets.widths("mobilenet_v2", 0.54)["MobilenetV2/expanded_conv_10/project"] == 48


@pytest.mark.parametrize(
    ("multiplier", "channels"), [(0.1, 5), (0.25, 5), (0.3, 6), (0.35, 7), (0.375, 8), (1.0, 8), (2.0, 8)]
)
def test_inception_stem_has_no_more_channels_inside_than_outside(multiplier, channels):
    shapes = mobilenets.variable_shapes("inception_v2", multiplier)
    stem = max(int(64 * multiplier), 16)
    assert shapes["InceptionV2/Conv2d_1a_7x7/depthwise_weights"] == (7, 7, 3, channels)
    assert shapes["InceptionV2/Conv2d_1a_7x7/pointwise_weights"] == (1, 1, 3 * channels, stem)
    model = mobilenets.InceptionV2(multiplier, (32, 32, 3), "feature_vector")
    assert tuple(model.get_layer("InceptionV2__Conv2d_1a_7x7").depthwise_kernel.shape) == (7, 7, 3, channels)


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "inception_v2"])
def test_variables_without_logits(family):
    everything = mobilenets.variable_shapes(family, 0.5, 10)
    body = mobilenets.variable_shapes(family, 0.5, None)
    extra = {name.split("/", 1)[1]: shape for name, shape in everything.items() if name not in body}
    features = {"mobilenet_v1": 512, "mobilenet_v2": 1280, "inception_v2": 512}[family]
    assert extra == {"Logits/Conv2d_1c_1x1/weights": (1, 1, features, 10), "Logits/Conv2d_1c_1x1/biases": (10,)}
    assert body.items() < everything.items()


@pytest.mark.parametrize("family", ["mobilenet_v1", "inception_v2"])
def test_v1_and_inception_have_no_option_of_the_last_layer(family):
    with pytest.raises(ValueError, match=f"{family} has no option scale_last_layer"):
        mobilenets.widths(family, 0.5, scale_last_layer=True)


def test_unknown_family():
    with pytest.raises(ValueError, match="mobilenet_v4"):
        mobilenets.widths("mobilenet_v4", 1.0)


STRIDES = [2, 1, 2, 1, 2, 2, 1, 2]


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (None, [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (2, 1), (1, 1), (2, 1)]),
        (32, [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (2, 1), (1, 1), (2, 1)]),
        (16, [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (2, 1), (1, 1), (1, 1)]),
        (8, [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (1, 1), (1, 2), (1, 2)]),
        (4, [(2, 1), (1, 1), (2, 1), (1, 1), (1, 1), (1, 2), (1, 4), (1, 4)]),
        (2, [(2, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 4), (1, 8), (1, 8)]),
        (1, [(1, 1), (1, 2), (1, 2), (1, 4), (1, 4), (1, 8), (1, 16), (1, 16)]),
        (6, [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (2, 1), (1, 1), (2, 1)]),
    ],
)
def test_a_layer_that_loses_its_stride_keeps_the_old_rate(output_stride, expected):
    assert list(atrous(STRIDES, output_stride)) == expected


def test_layer_names_are_slim_scopes():
    assert layer_name("MobilenetV2/expanded_conv_1/expand") == "MobilenetV2__expanded_conv_1__expand"
    for family in ("mobilenet_v1", "mobilenet_v2", "inception_v2"):
        for scope in mobilenets.widths(family, 1.0):
            assert slim_name(layer_name(scope)) == scope
            assert "/" not in layer_name(scope)
