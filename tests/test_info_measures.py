"""The measures of a model compared with the published table, the response of the graph, and sums written by hand."""

import itertools
import json
import math

import keras
import numpy as np
import pytest

import mobilenets
from converters.inspection.graph import steps_of
from converters.inspection.measures import model_facts, receptive_fields
from mobilenets.families import convolutions
from tests.networks import ANY_SIZE, CONSTRUCTORS, dtype_policy

BUILT = ["mobilenet_v1_025_128", "mobilenet_v2_035_96", "mobilenet_v2_140_224", "inception_v2"]


def small(family, **arguments):
    arguments = {"depth_multiplier": 0.25, "input_shape": (64, 64, 3), "num_classes": 10} | arguments
    return CONSTRUCTORS[family](**arguments)


@pytest.mark.parametrize("name", BUILT)
def test_counts_of_published_models(name):
    info = mobilenets.get_model_info(name)
    model = mobilenets.build(name)
    facts = model_facts(model)
    assert (facts["macs"], facts["parameters"]) == (info.macs, info.parameters)
    assert facts["trainable_parameters"] == info.trainable_parameters
    assert facts["weights_bytes"] == 4 * info.parameters
    assert facts["input"] == [info.image_size, info.image_size, 3]
    assert facts["feature_map"][-1] == info.num_features
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("family", ANY_SIZE)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (192, 192), (160, 160), (128, 128), (96, 96), (97, 129)])
def test_one_model_for_any_size_is_measured_at_each(family, height, width):
    """Every published image size, without building a model for each."""
    multiplier = 0.35 if family == "mobilenet_v2" else 0.25
    model = CONSTRUCTORS[family](multiplier, (None, None, 3))
    expected = sum(conv.multiply_adds(height, width) for conv in convolutions(family, multiplier))
    facts = model_facts(model, (height, width))
    assert facts["macs"] == expected
    assert facts["input"] == [height, width, 3]
    published = [info for info in map(mobilenets.get_model_info, mobilenets.list_models(family))]
    for info in published:
        if (info.depth_multiplier, info.image_size, info.image_size) == (multiplier, height, width):
            assert facts["macs"] == info.macs


# Araujo, Norris and Sim 2019 (Distill), table of receptive fields: the values of slim's own networks.
@pytest.mark.parametrize(("family", "size"), [("mobilenet_v1", 315), ("inception_v2", 699)])
def test_receptive_fields_in_the_literature(family, size):
    facts = model_facts(small(family, input_shape=(224, 224, 3), depth_multiplier=0.1))
    assert facts["receptive_field"] == [size, size]
    assert facts["stride"] == [32, 32]


def test_receptive_field_of_mobilenet_v2_by_the_formula():
    """1 + the sum over all 3x3 kernels of 2 * the stride of their input."""
    strides = [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    expected = 1 + sum(2 * math.prod(strides[:index]) for index in range(len(strides)))
    assert expected == 491
    assert model_facts(small("mobilenet_v2"))["receptive_field"] == [expected, expected]


def positive_weights(model):
    """Sets weights with which no path through the network cancels another."""
    for weight in model.weights:
        kernel = len(weight.shape) > 1
        weight.assign(np.full(weight.shape, 1 / math.prod(weight.shape[:-1]) if kernel else 0.0))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(np.ones(layer.moving_variance.shape))
            if layer.scale:
                layer.gamma.assign(np.ones(layer.gamma.shape))


@pytest.mark.parametrize(
    ("family", "layer", "shape", "arguments"),
    [
        ("mobilenet_v1", "MobilenetV1__Conv2d_5_pointwise__Relu6", (96, 96, 3), {}),
        ("mobilenet_v1", "MobilenetV1__Conv2d_5_pointwise__Relu6", (97, 81, 3), {}),
        ("mobilenet_v1", "MobilenetV1__Conv2d_8_depthwise__Relu6", (192, 193, 3), {"output_stride": 8}),
        ("mobilenet_v2", "MobilenetV2__layer_6__output", (96, 97, 3), {}),
        ("inception_v2", "InceptionV2__Mixed_3c", (160, 161, 3), {}),
        ("inception_v2", "InceptionV2__Mixed_4a", (224, 225, 3), {}),
    ],
)
def test_the_output_changes_only_with_pixels_in_the_receptive_field(family, layer, shape, arguments):
    """A position depends on the pixels at the edges of its field, and on none just outside."""
    with dtype_policy("float64"):
        model = small(family, input_shape=shape, head="feature_map", rescale_inputs=False, **arguments)
    positive_weights(model)
    tap = keras.Model(model.input, model.get_layer(layer).output)
    field = receptive_fields(steps_of(model))[layer]
    position = [size // 2 for size in tap.output_shape[1:3]]
    edges = [
        (axis.first + at * axis.stride, axis.last + at * axis.stride) for axis, at in zip(field, position, strict=True)
    ]
    assert all(first > 0 and last < size - 1 for (first, last), size in zip(edges, shape[:2], strict=True))

    (top, bottom), (left, right) = edges
    row, column = (top + bottom) // 2, (left + right) // 2
    inside = [(top, column), (bottom, column), (row, left), (row, right)]
    outside = [(top - 1, column), (bottom + 1, column), (row, left - 1), (row, right + 1)]
    # Far from zero and from ReLU6's bound, the maxima of pools change only upwards.
    images = np.full((1 + len(inside) + len(outside), *shape), 0.1)
    for index, (y, x) in enumerate([*inside, *outside], start=1):
        images[index, y, x] = 1.0
    answers = tap.predict(images, verbose=0)[:, position[0], position[1]]
    changed = (answers[1:] != answers[0]).any(axis=-1)
    assert changed.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("family", CONSTRUCTORS)
def test_fused_model_costs_the_same_multiply_adds(family):
    model = small(family)
    plain, fused = model_facts(model), model_facts(mobilenets.fuse(model))
    same = ("macs", "receptive_field", "stride", "feature_map", "input", "peak_activation_bytes")
    assert {key: plain[key] for key in same} == {key: fused[key] for key in same}
    assert fused["layers"] < plain["layers"]
    assert fused["weights_bytes"] < plain["weights_bytes"]


def test_a_saved_model_has_the_same_measures(tmp_path):
    model = small("mobilenet_v2")
    model.save(tmp_path / "model.keras")
    assert model_facts(keras.saving.load_model(tmp_path / "model.keras")) == model_facts(model)


def test_peak_of_a_chain_is_its_largest_pair():
    """MobileNet V1 is a chain: only the input and the output of one convolution are in memory at a time."""
    sizes = [64 * 64 * 3]
    for conv in convolutions("mobilenet_v1", 0.25)[:-1]:
        sizes.append(math.ceil(64 / conv.reduction) ** 2 * conv.out_channels)
    expected = 4 * max(before + after for before, after in itertools.pairwise(sizes))
    assert model_facts(small("mobilenet_v1"))["peak_activation_bytes"] == expected


def test_peak_of_a_residual_block_includes_the_shortcut():
    images = keras.Input((8, 8, 4))
    wide = keras.layers.Conv2D(16, 1)(images)
    filtered = keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.ReLU()(wide))
    sum_ = keras.layers.Add()([keras.layers.Conv2D(4, 1)(filtered), images])
    model = keras.Model(images, sum_)
    assert model_facts(model)["peak_activation_bytes"] == 4 * 64 * (4 + 16 + 16)
    everything = keras.Model(images, [wide, filtered, sum_])
    assert model_facts(everything)["peak_activation_bytes"] == 4 * 64 * (4 + 16 + 16 + 16)


def test_half_precision():
    """Images stay float32; with the rescaled ones they are the peak."""
    with dtype_policy("mixed_float16"):
        half = model_facts(small("mobilenet_v1"))
    full = model_facts(small("mobilenet_v1"))
    assert half["peak_activation_bytes"] == 64 * 64 * 3 * (4 + 2)
    assert half["weights_bytes"] == full["weights_bytes"]


def test_dense_head_and_frozen_layers():
    base = small("mobilenet_v1", head="feature_vector")
    base.trainable = False
    outputs = keras.layers.Dense(7, activation="softmax")(base.output)
    facts = model_facts(keras.Model(base.input, outputs))
    assert facts["trainable_parameters"] == 256 * 7 + 7
    assert facts["macs"] == model_facts(base)["macs"] + 256 * 7
    assert facts["feature_map"] == [2, 2, 256]


def nested():
    images = keras.Input((64, 64, 3))
    return keras.Model(images, small("mobilenet_v1", name="inner")(images))


def shared_layer():
    images = keras.Input((8, 8, 3))
    layer = keras.layers.ReLU()
    return keras.Model(images, layer(layer(images)), name="doubled")


def shared_in_branches():
    images = keras.Input((8, 8, 3))
    layer = keras.layers.Conv2D(3, 1)
    branches = [layer(images), layer(keras.layers.ReLU()(images))]
    return keras.Model(images, keras.layers.Add(name="sum")(branches))


def unknown_layer():
    images = keras.Input((8, 8, 3))
    return keras.Model(images, keras.layers.UpSampling2D(name="odd")(images))


def uneven_strides():
    images = keras.Input((8, 8, 3))
    halved = keras.layers.AveragePooling2D(1, 2)(images)
    return keras.Model(images, keras.layers.Concatenate(name="join")([halved, keras.layers.Conv2D(2, 5)(images)]))


@pytest.mark.parametrize(
    ("make", "size", "sentence"),
    [
        (shared_layer, None, "'doubled' reads a layer that is called more than once"),
        (shared_in_branches, None, "'sum' reads a layer that is called more than once"),
        (unknown_layer, None, "'odd' is a UpSampling2D"),
        (uneven_strides, None, r"'join' joins maps of different strides, \[1, 2\]"),
        (lambda: small("mobilenet_v1"), 96, "takes images of 64x64, not 96x96"),
        (lambda: small("mobilenet_v1", input_shape=(None, None, 3)), None, "image_size is required"),
        (lambda: "model", None, "Only a functional model can be measured, not 'model'"),
    ],
)
def test_what_cannot_be_measured_is_an_error(make, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_facts(make(), size)
