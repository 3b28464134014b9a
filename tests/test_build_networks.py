"""The networks as Keras models: names, shapes, heads, sizes, output strides, losses, saving, dtype policies."""

import csv
import math
import pathlib

import keras
import numpy as np
import pytest

import mobilenets
from tests.networks import ANY_SIZE, CONSTRUCTORS, SCOPES, dtype_policy, slim_weights

FAMILIES = list(CONSTRUCTORS)
STOCK = {
    "InputLayer",
    "Rescaling",
    "Conv2D",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "BatchNormalization",
    "ReLU",
    "Add",
    "Multiply",
    "Identity",
    "Concatenate",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "Dropout",
    "Flatten",
}
MULTIPLIERS = {
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.0),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "mobilenet_v3": (),
    "inception_v2": (1.0,),
}
PUBLISHED = [(family, multiplier) for family in FAMILIES for multiplier in MULTIPLIERS[family]]
REGULARIZED = {"mobilenet_v1": 15, "mobilenet_v2": 36, "mobilenet_v3": 49, "inception_v2": 69}


def table(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def shape_of(cell: str) -> tuple[int | None, ...]:
    """Returns the shape in a cell: ``3x3x3x32`` or ``Nx112x112x32``."""
    return tuple(None if size == "N" else int(size) for size in cell.split("x"))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(size=shape).astype(np.float32)


def evaluate(model: keras.Model, tensors, x: np.ndarray):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, keras.Model(model.input, tensors)(x))


@pytest.mark.parametrize(("family", "multiplier"), PUBLISHED)
def test_variables_equal_slim(family, multiplier, shared):
    rows = table(shared / "reference" / "variables" / f"{family}.tsv")
    column = "shape" if family == "inception_v2" else f"shape@{multiplier}"
    expected = {row["name"]: shape_of(row[column]) for row in rows}
    model = CONSTRUCTORS[family](multiplier, (32, 32, 3))
    weights = slim_weights(model)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == expected
    assert mobilenets.variable_shapes(family, multiplier) == expected
    assert {name for name, weight in weights.items() if weight.trainable} == {
        row["name"] for row in rows if row["trainable"] == "T"
    }
    assert {name for name, weight in weights.items() if weight.regularizer} == {
        row["name"] for row in rows if row["l2"] == "L2"
    }


@pytest.mark.parametrize(("family", "multiplier"), PUBLISHED)
def test_endpoints_equal_slim(family, multiplier, shared):
    rows = table(shared / "reference" / "variables" / f"{family}_endpoints.tsv")
    columns = {"mobilenet_v1": f"v1_{multiplier}", "mobilenet_v2": f"v2_{multiplier}", "inception_v2": "inception_v2"}
    expected = {
        f"{SCOPES[family]}/{row['endpoint'].replace('AvgPool_1a', 'global_pool')}": shape_of(row[columns[family]])
        for row in rows
    }
    actual = mobilenets.endpoints(CONSTRUCTORS[family](multiplier))
    assert {name: tensor.shape for name, tensor in actual.items()} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_are_stock_with_valid_names(family):
    model = CONSTRUCTORS[family](input_shape=(64, 64, 3))
    assert {type(layer).__name__ for layer in model.layers} <= STOCK
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert not [layer.name for layer in model.layers if "/" in layer.name or "." in layer.name]
    assert type(model).__module__.startswith("keras.")


@pytest.mark.parametrize("family", ANY_SIZE)
def test_heads_share_everything_before_them(family):
    features = {"mobilenet_v1": 512, "mobilenet_v2": 1280, "inception_v2": 512}[family]
    x = images(2, 70, 100, 3)
    models = {}
    for head in ("classification", "feature_vector", "feature_map"):
        models[head] = CONSTRUCTORS[family](0.5, (70, 100, 3), head, num_classes=7)
        weights = slim_weights(models[head])
        for name, weight in slim_weights(models["classification"]).items():
            if name in weights:
                weights[name].assign(weight)
    out = {head: evaluate(model, model.output, x) for head, model in models.items()}
    assert out["feature_map"].shape == (2, 3, 4, features)
    np.testing.assert_allclose(out["feature_vector"], out["feature_map"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    logits = slim_weights(models["classification"])
    kernel, bias = (logits[f"{SCOPES[family]}/Logits/Conv2d_1c_1x1/{leaf}"] for leaf in ("weights", "biases"))
    kernel, bias = keras.ops.convert_to_numpy(kernel), keras.ops.convert_to_numpy(bias)
    np.testing.assert_allclose(out["classification"], out["feature_vector"] @ kernel[0, 0] + bias, rtol=1e-4, atol=1e-6)

    endpoints = {head: list(mobilenets.endpoints(model)) for head, model in models.items()}
    scope = SCOPES[family]
    assert endpoints["classification"] == [*endpoints["feature_vector"], f"{scope}/Logits", f"{scope}/Predictions"]
    assert endpoints["feature_vector"] == [*endpoints["feature_map"], f"{scope}/global_pool"]
    dropouts = [head for head, model in models.items() if "dropout" in [layer.name for layer in model.layers]]
    assert dropouts == ["classification"]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 64)])
@pytest.mark.parametrize("family", ANY_SIZE)
def test_open_sizes_compute_the_same_as_fixed_ones(family, size):
    x = images(1, *size, 3)
    fixed = CONSTRUCTORS[family](0.5, (*size, 3), num_classes=5)
    open_model = CONSTRUCTORS[family](0.5, (None, None, 3), num_classes=5)
    open_model.set_weights(fixed.get_weights())
    expected = evaluate(fixed, mobilenets.endpoints(fixed), x)
    actual = evaluate(open_model, mobilenets.endpoints(open_model), x)
    assert list(actual) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_rescaling_is_the_only_difference_between_input_ranges(family):
    hub = CONSTRUCTORS[family](0.5, (32, 32, 3), num_classes=5)
    slim = CONSTRUCTORS[family](0.5, (32, 32, 3), num_classes=5, rescale_inputs=False)
    slim.set_weights(hub.get_weights())
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(evaluate(slim, slim.output, 2 * x - 1), evaluate(hub, hub.output, x))


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_the_softmax_of_the_logits(family):
    model = CONSTRUCTORS[family](0.5, (32, 32, 3), num_classes=5)
    actual = evaluate(model, mobilenets.endpoints(model), 20 * images(2, 32, 32, 3))
    scope = SCOPES[family]
    exponentials = np.exp(actual[f"{scope}/Logits"].astype(np.float64))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    # Probabilities below float32's normal numbers are rounded to zero on some processors.
    np.testing.assert_allclose(actual[f"{scope}/Predictions"], expected, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("family", FAMILIES)
def test_endpoints_after_saving(family, tmp_path):
    model = CONSTRUCTORS[family](0.5, (64, 64, 3), num_classes=11)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images(1, 64, 64, 3)
    before = evaluate(model, mobilenets.endpoints(model), x)
    after = evaluate(loaded, mobilenets.endpoints(loaded), x)
    assert list(before) == list(after)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)
    assert [weight.regularizer is None for weight in loaded.weights] == [
        weight.regularizer is None for weight in model.weights
    ]


def test_a_model_of_endpoints_has_the_same_endpoints_after_saving(tmp_path):
    model = mobilenets.MobileNetV2(0.35, (32, 32, 3))
    extractor = keras.Model(model.input, mobilenets.endpoints(model))
    extractor.save(tmp_path / "extractor.keras")
    loaded = keras.saving.load_model(tmp_path / "extractor.keras")
    assert list(mobilenets.endpoints(loaded)) == list(mobilenets.endpoints(model))


def test_endpoints_with_a_new_top():
    base = mobilenets.MobileNetV1(0.25, (64, 64, 3), "feature_vector")
    model = keras.Model(base.input, keras.layers.Dense(3, name="top")(base.output))
    assert list(mobilenets.endpoints(model)) == list(mobilenets.endpoints(base))


def test_a_block_output_has_two_names():
    actual = mobilenets.endpoints(mobilenets.MobileNetV2(0.35, (32, 32, 3)))
    for index in range(2, 19):
        assert actual[f"MobilenetV2/layer_{index}"] is actual[f"MobilenetV2/layer_{index}/output"]


def test_a_model_without_endpoints_is_an_error():
    network = mobilenets.MobileNetV1(0.25, (64, 64, 3))
    nested = keras.Sequential([keras.Input((64, 64, 3)), network], name="wrapper")
    with pytest.raises(ValueError, match="wrapper"):
        mobilenets.endpoints(nested)


@pytest.mark.parametrize("family", FAMILIES)
def test_weight_decay_counts_half_the_squares(family):
    model = CONSTRUCTORS[family](0.5, (32, 32, 3), weight_decay=0.25)
    squares = sum(
        np.sum(np.square(keras.ops.convert_to_numpy(weight), dtype=np.float64))
        for name, weight in slim_weights(model).items()
        if name.endswith("/weights")
    )
    assert len(model.losses) == REGULARIZED[family]
    assert float(sum(model.losses)) == pytest.approx(0.25 * squares / 2, rel=1e-5)


@pytest.mark.parametrize("weight_decay", [None, 0, 0.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_weight_decay_means_no_losses(family, weight_decay):
    assert CONSTRUCTORS[family](0.5, (32, 32, 3), weight_decay=weight_decay).losses == []


@pytest.mark.parametrize(
    ("family", "default"), [("mobilenet_v1", 0.001), *((f, 0.2) for f in FAMILIES if f != "mobilenet_v1")]
)
def test_training_arguments_reach_the_layers(family, default):
    plain = CONSTRUCTORS[family](0.5, (32, 32, 3))
    custom = CONSTRUCTORS[family](0.5, (32, 32, 3), batch_norm_momentum=0.9, dropout_rate=0.5, name="mine")
    for model, momentum, rate in ((plain, 0.99, default), (custom, 0.9, 0.5)):
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert {norm.momentum for norm in norms} == {momentum}
        assert {norm.epsilon for norm in norms} == {1e-3}
        assert model.get_layer("dropout").rate == rate
    assert (plain.name, custom.name) == (family, "mine")


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_kernels_have_slims_distribution(family):
    """Deviations of slim's initializers; truncation at two deviations leaves 0.8796 of the deviation of a normal."""
    model = CONSTRUCTORS[family](1.0, (32, 32, 3))
    kept = 0.87962566
    for name, weight in slim_weights(model).items():
        if not name.endswith("weights"):
            continue
        value = keras.ops.convert_to_numpy(weight)
        *path, layer, _ = name.split("/")
        if family != "inception_v2":
            deviation = 0.09
        elif layer == "Conv2d_1a_7x7":
            deviation = 1.0
        elif layer in ("Conv2d_2b_1x1", "Conv2d_0b_1x1"):
            deviation = 0.1
        elif layer == "Conv2d_0a_1x1" and ("Branch_0" not in path or path[1] in ("Mixed_4a", "Mixed_5a")):
            deviation = 0.09
        else:
            deviation = math.sqrt(1.3 * 2 / np.prod(value.shape[:3]))
        # Six standard errors of a standard deviation estimated from this number of values.
        assert value.std() == pytest.approx(deviation * kept, rel=6 / math.sqrt(2 * value.size)), name
        assert np.abs(value).max() <= 2 * deviation * (1 + 1e-6), name


def test_kernels_of_equal_shape_have_different_initial_values():
    weights = slim_weights(mobilenets.MobileNetV1(0.25, (32, 32, 3)))
    kernels = [weights[f"MobilenetV1/Conv2d_{index}_pointwise/weights"] for index in range(7, 12)]
    assert len({keras.ops.convert_to_numpy(kernel).tobytes() for kernel in kernels}) == len(kernels)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_determines_all_kernels(family):
    def kernels(seed):
        keras.utils.set_random_seed(seed)
        return {
            name: keras.ops.convert_to_numpy(weight).tobytes()
            for name, weight in slim_weights(CONSTRUCTORS[family](0.25, (32, 32, 3))).items()
            if name.endswith("weights")
        }

    first, again, other = kernels(1), kernels(1), kernels(2)
    assert first == again
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_initializers_in_the_configuration_are_keras_own(family):
    """A clone, or a model from the configuration, is initialized without this package."""
    model = CONSTRUCTORS[family](0.25, (32, 32, 3))
    actual = [
        value
        for layer in model.layers
        for name, value in layer.get_config().items()
        if name in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
    ]
    assert actual and {value["module"] for value in actual} == {"keras.initializers"}
    assert {value["class_name"] for value in actual} <= {"TruncatedNormal", "VarianceScaling"}
    for layer, clone in zip(model.layers, keras.models.clone_model(model).layers, strict=True):
        for weight, cloned in zip(layer.weights, clone.weights, strict=True):
            mine, theirs = (keras.ops.convert_to_numpy(value) for value in (weight, cloned))
            if "kernel" in weight.name and mine.size > 1000:
                assert not np.array_equal(mine, theirs) and theirs.std() == pytest.approx(mine.std(), rel=0.2)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_v1_output_stride(output_stride):
    model = mobilenets.MobileNetV1(0.25, (97, 65, 3), "feature_map", output_stride=output_stride)
    assert model.output.shape == (None, math.ceil(97 / output_stride), math.ceil(65 / output_stride), 256)


@pytest.mark.parametrize("output_stride", [1, 2, 4, 8, 16, 32])
def test_v2_output_stride(output_stride):
    model = mobilenets.MobileNetV2(0.35, (49, 33, 3), "feature_map", output_stride=output_stride)
    assert model.output.shape == (None, math.ceil(49 / output_stride), math.ceil(33 / output_stride), 1280)


@pytest.mark.parametrize("output_stride", [6, 64])
def test_v2_output_stride_that_is_never_reached_changes_nothing(output_stride):
    plain = mobilenets.MobileNetV2(0.35, (64, 64, 3)).get_config()
    other = mobilenets.MobileNetV2(0.35, (64, 64, 3), output_stride=output_stride).get_config()
    strides = [
        [(layer["config"].get("strides"), layer["config"].get("dilation_rate")) for layer in config["layers"]]
        for config in (plain, other)
    ]
    assert strides[0] == strides[1]


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("head", ["classification", "feature_vector"])
def test_output_stride_with_any_head(family, head):
    model = CONSTRUCTORS[family](0.35, (64, 64, 3), head, num_classes=4, output_stride=8)
    assert np.isfinite(evaluate(model, model.output, images(1, 64, 64, 3))).all()


# Layers that add their input: always, or only when an output stride removes their stride and rounding makes the widths
# equal (computed with slim's own network).
ALWAYS = {4, 6, 7, 9, 10, 11, 13, 14, 16, 17}


@pytest.mark.parametrize(
    ("multiplier", "output_stride", "gained"),
    [
        *((multiplier, stride, set()) for multiplier in MULTIPLIERS["mobilenet_v2"] for stride in (None, 8, 16, 32)),
        (0.35, 2, {3}),
        (0.5, 2, {5}),
        (0.5, 4, {5}),
        (0.75, 2, {5}),
        (0.75, 4, {5}),
        (1.0, 2, set()),
    ],
)
def test_v2_residuals_follow_the_effective_stride(multiplier, output_stride, gained):
    model = mobilenets.MobileNetV2(multiplier, (32, 32, 3), "feature_map", output_stride=output_stride)
    added = {
        int(layer.name.split("__")[1].removeprefix("layer_"))
        for layer in model.layers
        if isinstance(layer, keras.layers.Add)
    }
    assert added == ALWAYS | gained


def test_v2_width_of_the_last_layer():
    def last(multiplier, scale_last_layer=None):
        model = mobilenets.MobileNetV2(multiplier, (32, 32, 3), "feature_vector", scale_last_layer=scale_last_layer)
        return model.output.shape[-1]

    assert [last(multiplier) for multiplier in (0.35, 0.99, 1.0, 1.4)] == [1280, 1280, 1280, 1792]
    assert [last(0.35, True), last(0.35, False), last(1.4, True), last(1.4, False)] == [448, 1280, 1792, 1280]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_float32_under_half_precision(family, policy):
    with dtype_policy(policy):
        model = CONSTRUCTORS[family](0.5, (32, 32, 3), num_classes=3)
        features = CONSTRUCTORS[family](0.5, (32, 32, 3), "feature_vector")
        actual = mobilenets.endpoints(model)
    scope, half = SCOPES[family], policy.removeprefix("mixed_")
    assert actual[f"{scope}/global_pool"].dtype == half
    assert features.output.dtype == half
    assert actual[f"{scope}/Logits"].dtype == actual[f"{scope}/Predictions"].dtype == "float32"
    assert model.get_layer(f"{scope}__Logits__Conv2d_1c_1x1").kernel.dtype == "float32"
    if policy == "mixed_bfloat16":
        assert np.isfinite(evaluate(model, actual[f"{scope}/Predictions"], images(1, 32, 32, 3))).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_float64_under_a_float64_policy(family):
    with dtype_policy("float64"):
        model = CONSTRUCTORS[family](0.5, (32, 32, 3), num_classes=3)
        actual = mobilenets.endpoints(model)
    assert {tensor.dtype for tensor in actual.values()} == {"float64"}
    assert {weight.dtype for weight in slim_weights(model).values()} == {"float64"}
    assert model.input.dtype == "float64"


def test_a_channels_first_default_has_no_effect():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        models = [constructor(0.5, (32, 32, 3), num_classes=3) for constructor in CONSTRUCTORS.values()]
    finally:
        keras.config.set_image_data_format(before)
    for model in models:
        plain = CONSTRUCTORS[model.name](0.5, (32, 32, 3), num_classes=3)
        plain.set_weights(model.get_weights())
        x = images(2, 32, 32, 3)
        np.testing.assert_array_equal(evaluate(model, model.output, x), evaluate(plain, plain.output, x))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_updates_every_kernel_and_moving_statistic(family):
    keras.utils.set_random_seed(1)
    model = CONSTRUCTORS[family](0.5, (64, 64, 3), num_classes=3)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {name: keras.ops.convert_to_numpy(weight) for name, weight in slim_weights(model).items()}
    assert np.isfinite(model.train_on_batch(images(6, 64, 64, 3), np.array([0, 1, 2, 0, 1, 2])))
    after = {name: keras.ops.convert_to_numpy(weight) for name, weight in slim_weights(model).items()}
    reached = {name for name in before if np.any(before[name] != after[name])}
    assert {name for name in before if "weights" in name or "/moving_" in name} <= reached


BAD_ARGUMENTS = [
    ({"depth_multiplier": 0}, "depth_multiplier"),
    ({"depth_multiplier": -1.0}, "depth_multiplier"),
    ({"depth_multiplier": math.nan}, "depth_multiplier"),
    ({"depth_multiplier": math.inf}, "depth_multiplier"),
    ({"depth_multiplier": "1.0"}, "depth_multiplier"),
    ({"depth_multiplier": None}, "depth_multiplier"),
    ({"input_shape": (31, 224, 3)}, "input_shape"),
    ({"input_shape": (224, 31, 3)}, "input_shape"),
    ({"input_shape": (224.0, 224, 3)}, "input_shape"),
    ({"input_shape": (224, 224, 2)}, "input_shape"),
    ({"input_shape": (224, 224)}, "input_shape"),
    ({"input_shape": (1, 224, 224, 3)}, "input_shape"),
    ({"input_shape": 224}, "input_shape"),
    ({"input_shape": None}, "input_shape"),
    ({"head": "logits"}, "classification, feature_vector, feature_map"),
    ({"head": None}, "classification, feature_vector, feature_map"),
    ({"num_classes": 0}, "num_classes"),
    ({"num_classes": 10.0}, "num_classes"),
    ({"num_classes": None}, "num_classes"),
    ({"first_stride": 0}, "first_stride"),
    ({"first_stride": 3}, "first_stride"),
    ({"first_stride": 1.0}, "first_stride"),
    ({"first_stride": True}, "first_stride"),
    ({"first_stride": None}, "first_stride"),
    ({"batch_norm_momentum": 1.0}, "batch_norm_momentum"),
    ({"batch_norm_momentum": -0.1}, "batch_norm_momentum"),
    ({"weight_decay": -1e-5}, "weight_decay"),
    ({"weight_decay": math.nan}, "weight_decay"),
    ({"dropout_rate": 1.0}, "dropout_rate"),
    ({"dropout_rate": -0.1}, "dropout_rate"),
    ({"dropout_rate": None}, "dropout_rate"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD_ARGUMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_bad_argument_is_one_sentence(family, arguments, named):
    with pytest.raises(ValueError, match=named) as caught:
        CONSTRUCTORS[family](**arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert repr(next(iter(arguments.values()))) in message


@pytest.mark.parametrize(
    ("family", "output_stride"),
    [("mobilenet_v1", stride) for stride in (0, 1, 4, 9, 64, "8")]
    + [("mobilenet_v2", stride) for stride in (0, -2, 3, 9, 2.5, "8")],
)
def test_bad_output_strides(family, output_stride):
    with pytest.raises(ValueError, match=f"output_stride .*{output_stride!r}"):
        CONSTRUCTORS[family](output_stride=output_stride)


def test_numpy_numbers_are_accepted():
    model = mobilenets.MobileNetV1(np.float32(0.5), (np.int64(32), None, 3), num_classes=np.int32(4))
    assert model.input.shape == (None, 32, None, 3)
    assert model.output.shape == (None, 4)
