"""Files of trainers, detectors and forks: the arrays that went in are those of the model, the rest is accounted for."""

import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
from converters import ConversionError
from converters.cli import main
from converters.dense_head import dense_heads
from converters.differences import by_scope, describe, differences
from converters.roles import RANGES, roles
from converters.scopes import find_scope, is_own_layer, networks_in
from tests.oracle import files
from tests.oracle.recipes import made_up_images, made_up_variables
from tests.oracle.run import run, variable_shapes
from tests.oracle.slim import tf

AVERAGE = "/ExponentialMovingAverage"
SCOPES = {"mobilenet_v1": "MobilenetV1", "mobilenet_v2": "MobilenetV2", "inception_v2": "InceptionV2"}
SLOTS = ["RMSProp", "RMSProp_1", "RMSProp_2", "Momentum", "Adam", "Adam_1", "Adagrad", "Adadelta_1", "Ftrl", "Yogi_3"]


def network(family="mobilenet_v1", multiplier=0.25, num_classes=None):
    return made_up_variables(variable_shapes(family, multiplier, num_classes=num_classes))


def layer(scope, *shape):
    """A convolution with its batch norm."""
    vectors = {f"{scope}/BatchNorm/{leaf}": np.ones(shape[-1], "f4") for leaf in ("beta", "gamma", "moving_mean")}
    return {f"{scope}/weights": np.ones(shape, "f4")} | vectors


def equal(model, variables):
    """Whether a model has exactly these variables, bit for bit."""
    values = converters.slim_variables(model)
    return values.keys() == variables.keys() and all(
        values[name].tobytes() == np.asarray(array).tobytes() for name, array in variables.items()
    )


# Scopes.


@pytest.mark.parametrize("family", SCOPES)
@pytest.mark.parametrize(
    "scope", ["FeatureExtractor/{}", "module/{}", "import/{}", "a/b/c/{}", "renamed_net", "x/y", ""]
)
def test_a_network_is_found_in_any_scope(family, scope):
    path = scope.format(SCOPES[family])
    names = [name.replace(SCOPES[family], path, 1).lstrip("/") for name in variable_shapes(family, 0.5)]
    found = find_scope([*names, "other/weights", "aspp0/weights"], "x.ckpt")
    assert (found.family, found.path) == (family, path)
    assert set(found.slim_names(names)) == set(variable_shapes(family, 0.5))


@pytest.mark.parametrize("scope", ["FeatureExtractor/MobilenetV1", "net1/mobilenet_v1", ""])
def test_weights_in_another_scope_are_those_of_the_model(scope, tmp_path):
    variables = network(num_classes=3)
    moved = {name.replace("MobilenetV1", scope, 1).lstrip("/"): array for name, array in variables.items()}
    moved |= {"BoxPredictor_0/Box/weights": np.ones((1, 1, 8, 2), "f4")} if scope else {}
    checkpoints.save_checkpoint(moved, tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(64, 64, 3))
    assert equal(conversion.model, variables)
    assert conversion.set_aside == ({"outside of the network": 1} if scope else {})
    converters.save_model(conversion, tmp_path / "m.keras")
    assert converters.verify(tmp_path / "m.keras", tmp_path / "m.ckpt").passed


def test_a_scope_that_is_opened_twice_has_its_logits_outside():
    variables = network(num_classes=3)
    twice = {
        name if "/Logits/" in name else name.replace("MobilenetV1", "MobilenetV1/MobilenetV1"): array
        for name, array in variables.items()
    }
    assert equal(converters.convert(twice, input_shape=(64, 64, 3)), variables)


@pytest.mark.parametrize("scope", ["net2", "net2/MobilenetV1", "/net2/MobilenetV1/"])
def test_of_several_networks_one_is_named(scope, tmp_path):
    one, two = network(num_classes=3), {name: array + 1 for name, array in network(num_classes=3).items()}
    both = {f"net1/{name}": array for name, array in one.items()} | {f"net2/{n}": array for n, array in two.items()}
    checkpoints.save_checkpoint(both, tmp_path / "both.ckpt")
    command = ["convert", str(tmp_path / "both.ckpt"), "-o", str(tmp_path / "m.keras"), "--image-size", "64"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and not (tmp_path / "m.keras").exists()
    assert all(text in refused.stderr for text in ("net1/MobilenetV1", "net2/MobilenetV1", "--scope"))
    done = CliRunner().invoke(main, [*command, "--scope", scope])
    assert done.exit_code == 0, done.output
    assert equal(converters.load_model(tmp_path / "m.keras"), two)
    assert "137 in net1" in done.stderr
    assert converters.verify(tmp_path / "m.keras", tmp_path / "both.ckpt", scope="net2").passed
    assert not converters.verify(tmp_path / "m.keras", tmp_path / "both.ckpt", scope="net1").passed


def test_a_scope_without_a_network_is_refused_with_those_of_the_file():
    variables = {f"net1/{name}": array for name, array in network().items()}
    with pytest.raises(ConversionError, match=r"no network in the scope 'net7'.*net1/MobilenetV1"):
        converters.convert(variables, scope="net7")


def test_two_clones_are_two_networks():
    names = [f"clone_{index}/{name}" for index in (0, 1) for name in variable_shapes("mobilenet_v2", 1.0)]
    assert [n.path for n in networks_in(names)] == ["clone_0/MobilenetV2", "clone_1/MobilenetV2"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet_v2_50/block1/unit_1/conv1/weights", "a ResNet"),
        ("efficientnet-b0/blocks_1/conv2d/kernel", "an EfficientNet"),
        ("InceptionV3/Conv2d_1a_3x3/weights", "Inception V3"),
        ("model/layer_with_weights-3/kernel/.ATTRIBUTES/VARIABLE_VALUE", "checkpoint of Keras objects"),
        ("Conv1/Conv1/kernel:0", "already a Keras model"),
    ],
)
def test_other_networks_are_named(name, kind):
    with pytest.raises(ConversionError, match=f"holds no network of MobilenetV1.*{kind}"):
        converters.convert({name: np.ones((1, 1, 2, 2), "f4")})


# Entries that only training needs.


@pytest.mark.parametrize("optimizer", ["adadelta", "ftrl", "centered rmsprop"])
def test_checkpoints_of_slims_trainer_with_its_optimizers(optimizer, tmp_path, monkeypatch):
    optimizers = {
        "adadelta": lambda: tf.train.AdadeltaOptimizer(0.01, rho=0.95, epsilon=1.0),
        "ftrl": lambda: tf.train.FtrlOptimizer(0.01),
        "centered rmsprop": lambda: tf.train.RMSPropOptimizer(0.01, momentum=0.9, epsilon=1.0, centered=True),
    }
    monkeypatch.setattr(files, "OPTIMIZERS", files.OPTIMIZERS | optimizers)
    prefix = tmp_path / "model.ckpt-1"
    written = files.write_checkpoint(prefix, "mobilenet_v1", 0.25, optimizer=optimizer, averages=False, num_classes=5)
    names = variable_shapes("mobilenet_v1", 0.25, num_classes=5)
    assert equal(converters.convert(prefix), {name: written[name] for name in names})


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("form", ["{variable}/{slot}", "train/{variable}/{slot}", "a/b/{variable}/{slot}"])
def test_anything_under_a_variable_with_its_shape_is_a_slot(slot, form):
    shapes = {"net/Conv/weights": (3, 3, 3, 8), "net/Conv/biases": (8,)}
    slots = {form.format(variable=name, slot=slot): shape for name, shape in shapes.items()}
    assert roles(shapes | slots).companions == {slot: sorted(slots)}
    other_shape = {name: (*shape, 1) for name, shape in slots.items()}
    assert roles(shapes | other_shape).plain == (shapes | other_shape).keys()


def test_slots_named_by_the_optimizer_first():
    assert roles({"Conv/weights": (3,), "Adam/Conv/weights/m": (3,)}).companions == {"m": ["Adam/Conv/weights/m"]}


def test_slots_of_nothing_remain():
    assert roles({"gone/weights/RMSProp": (3,), f"gone/weights{AVERAGE}/RMSProp": (3,)}).plain == {
        "gone/weights/RMSProp",
        f"gone/weights{AVERAGE}/RMSProp",
    }


def test_slots_of_averages_are_slots():
    assert roles({f"Conv/weights{AVERAGE}": (3,), "Conv/weights/RMSProp": (3,)}).plain == set()


@pytest.mark.parametrize("name", ["global_step", "beta1_power", "beta2_power_1", "local_step", "biased"])
@pytest.mark.parametrize("scope", ["", "module/", "clone_1/train/", "MobilenetV2/Conv/BatchNorm/"])
def test_counters_in_any_scope(name, scope):
    assert roles({scope + name: ()}).companions == {name: [scope + name]}


def test_averages_in_the_scope_of_a_trainer():
    shapes = {"Conv/weights": (3,), f"train/Conv/weights{AVERAGE}": (3,)}
    assert roles(shapes).averages == {"Conv/weights": f"train/Conv/weights{AVERAGE}"}


def test_averages_of_two_networks_stay_apart():
    shapes = {f"{scope}/weights{suffix}": (3,) for scope in ("a", "b") for suffix in ("", AVERAGE)}
    assert roles(shapes).averages == {f"{scope}/weights": f"{scope}/weights{AVERAGE}" for scope in ("a", "b")}


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2"])
def test_quantization_ranges_are_set_aside_with_a_note(family):
    variables, scope = network(family, 0.35, num_classes=3), SCOPES[family]
    ranges = {}
    for inner in sorted({name.rpartition("/")[0] for name in variables if name.endswith("weights")}):
        act = f"{inner.replace(scope, f'{scope}/{scope}')}/act_quant"
        ranges |= {f"{inner}/weights_quant/min": 0, f"{act}/max": 6, f"{act}/{act}/max/biased": 6}
        ranges |= {f"{act}/{act}/max/local_step": 9, f"{inner}/conv_quant/min{AVERAGE}": 0}
    source = variables | {name: np.float32(value) for name, value in ranges.items()}
    conversion = converters.conversion_of(source, input_shape=(64, 64, 3))
    assert equal(conversion.model, variables)
    assert conversion.set_aside == {RANGES: len(ranges)}
    assert any("the outputs are those of the float network" in note for note in conversion.notes)


def test_a_detection_checkpoint_gives_the_averaged_backbone(tmp_path):
    backbone = network("mobilenet_v2", 0.35)
    source = {f"FeatureExtractor/{name}": array for name, array in backbone.items()}
    source |= layer("FeatureExtractor/MobilenetV2/layer_19_1_Conv2d_2_1x1_256", 1, 1, 1280, 256)
    source |= {f"BoxPredictor_{i}/Class/weights": np.ones((1, 1, 256, 6), "f4") for i in range(6)}
    for name in [name for name in source if "moving_" not in name]:
        source |= {name + AVERAGE: source[name] * np.float32(0.5), f"{name}/RMSProp": source[name]}
    checkpoints.save_checkpoint(source | {"global_step": np.array(7)}, tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", head="feature_map", input_shape=(None, None, 3))
    expected = {n: array if "moving_" in n else array * np.float32(0.5) for n, array in backbone.items()}
    assert equal(conversion.model, expected)
    assert conversion.set_aside["other layers in its scope"] == 4
    assert any("1 in BoxPredictor_0, 1 in BoxPredictor_1" in note for note in conversion.notes)
    assert any("layer_19_1_Conv2d_2_1x1_256/weights" in note for note in conversion.notes)


# Layers that the network has not.


@pytest.mark.parametrize(
    ("name", "family", "own"),
    [
        ("MobilenetV2/expanded_conv_3/squeeze_excite/weights", "mobilenet_v2", True),
        ("MobilenetV2/expanded_conv_17/project/weights", "mobilenet_v2", True),
        ("MobilenetV2/Conv_2/weights", "mobilenet_v2", True),
        ("MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512/weights", "mobilenet_v2", False),
        ("MobilenetV1/Conv2d_99/weights", "mobilenet_v1", True),
        ("MobilenetV1/Conv2d_14_depthwise/depthwise_weights", "mobilenet_v1", True),
        ("MobilenetV1/Conv2d_13_pointwise_1_Conv2d_2_1x1_256/weights", "mobilenet_v1", False),
        ("MobilenetV1/Logits/Conv2d_1c_1x1_age/weights", "mobilenet_v1", False),
        ("InceptionV2/Mixed_5d/Branch_0/Conv2d_0a_1x1/weights", "inception_v2", True),
        ("InceptionV2/Mixed_5c_2_Conv2d_3_3x3_s2_512/weights", "inception_v2", False),
        ("InceptionV2/AuxLogits/Conv2d_1b_1x1/weights", "inception_v2", False),
    ],
)
def test_what_changes_the_network_and_what_is_on_top_of_it(name, family, own):
    assert is_own_layer(name, family) == own


def test_a_layer_in_a_block_is_an_error():
    source = network("mobilenet_v2", 0.35) | layer("MobilenetV2/expanded_conv_3/squeeze_excite", 1, 1, 8, 8)
    with pytest.raises(ConversionError, match=r"4 left over \(\+\)\n\+ MobilenetV2/expanded_conv_3/squeeze_excite"):
        converters.convert(source)


@pytest.mark.parametrize("scope", ["Conv2d_1c_1x1_gender", "dense", "Flowers/fc"])
def test_a_second_head_is_set_aside_and_named(scope, tmp_path):
    variables = network(num_classes=3)
    second = {f"MobilenetV1/Logits/{scope}/weights": np.ones((1, 1, 256, 2), "f4")}
    checkpoints.save_checkpoint(variables | second, tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(64, 64, 3))
    assert equal(conversion.model, variables)
    assert any(name in note for name in second for note in conversion.notes)
    converters.save_model(conversion, tmp_path / "m.keras")
    assert converters.verify(tmp_path / "m.keras", tmp_path / "m.ckpt").passed


# Dense heads.


@pytest.mark.parametrize(
    ("weights", "biases"),
    [
        ("MobilenetV2/Logits/weights", "MobilenetV2/Logits/biases"),
        ("MobilenetV2/Logits/Conv2d_1c_1x1/weights", "MobilenetV2/Logits/Conv2d_1c_1x1/biases"),
        ("final_retrain_ops/weights/final_weights", "final_retrain_ops/biases/final_biases"),
        ("final_training_ops/weights/final_weights", "final_training_ops/biases/final_biases"),
        ("classifier/dense/kernel", "classifier/dense/bias"),
    ],
)
def test_a_dense_head_is_the_classification_layer(weights, biases, tmp_path):
    """The oracle is slim's graph with the same head as a 1x1 convolution."""
    backbone = network("mobilenet_v2", 0.35)
    head = np.random.default_rng(0).normal(0, 0.05, (1280, 4)).astype("f4"), np.arange(4, dtype="f4")
    source = {f"module/{name}": array for name, array in backbone.items()}
    moved = [f"module/{name}" if name.startswith("Mobilenet") else name for name in (weights, biases)]
    checkpoints.save_checkpoint(source | dict(zip(moved, head, strict=True)), tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(96, 96, 3))
    logits = "MobilenetV2/Logits/Conv2d_1c_1x1"
    slim = backbone | {f"{logits}/weights": head[0].reshape(1, 1, 1280, 4), f"{logits}/biases": head[1]}
    assert equal(conversion.model, slim)
    assert any("dense layer" in note and moved[0] in note for note in conversion.notes)
    images = made_up_images(96, 96)
    expected = run("mobilenet_v2", slim, images, depth_multiplier=0.35, num_classes=4)["Logits"]
    np.testing.assert_allclose(conversion.model(images), expected, atol=1e-4 * np.abs(expected).max())
    converters.save_model(conversion, tmp_path / "m.keras")


def test_of_several_dense_layers_none_is_guessed():
    heads = {f"{task}/{leaf}": (256, 3) if leaf == "kernel" else (3,) for task in "ab" for leaf in ("kernel", "bias")}
    source = network() | {name: np.ones(shape, "f4") for name, shape in heads.items()}
    conversion = converters.conversion_of(source)
    assert conversion.configuration["head"] == "feature_vector"
    assert any("2 dense layers that may be the head" in note for note in conversion.notes)


def test_which_dense_layers_can_be_a_head():
    pair = {"head/kernel": (256, 3), "head/bias": (3,)}
    assert dense_heads(pair, 256) == [("head/kernel", "head/bias")]
    assert dense_heads(pair, 128) == []
    assert dense_heads({"head/kernel": (256, 3)}, 256) == []
    assert dense_heads(pair | {"head/conv/weights": (3, 3, 3, 8)}, 256) == []
    assert dense_heads(pair | {"x/Logits/weights": (256, 5), "x/Logits/biases": (5,)}, 256) == [
        ("x/Logits/weights", "x/Logits/biases")
    ]


# Backbones and variants.


def test_a_backbone_without_the_last_convolution_is_a_feature_map(tmp_path):
    """DeepLab; the oracle is slim's endpoint."""
    variables = network("mobilenet_v2", 0.5)
    backbone = {name: array for name, array in variables.items() if not name.startswith("MobilenetV2/Conv_1/")}
    source = backbone | layer("aspp0", 1, 1, 160, 8) | {"logits/semantic/weights": np.ones((1, 1, 8, 2), "f4")}
    checkpoints.save_checkpoint(source, tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(96, 64, 3), output_stride=8)
    assert equal(conversion.model, backbone)
    assert any("4 in aspp0, 1 in logits" in note for note in conversion.notes)
    images = made_up_images(96, 64)
    options = {"depth_multiplier": 0.5, "num_classes": None, "output_stride": 8}
    expected = run("mobilenet_v2", variables, images, **options)["layer_18"]
    np.testing.assert_allclose(conversion.model(images), expected, atol=1e-4 * np.abs(expected).max())
    converters.save_model(conversion, tmp_path / "m.keras")
    assert converters.verify(tmp_path / "m.keras", tmp_path / "m.ckpt").passed
    with pytest.raises(ConversionError, match=r"expanded_conv_16/project.*'feature_map' only, not 'feature_vector'"):
        converters.convert(tmp_path / "m.ckpt", head="feature_vector")


def test_a_hole_in_a_backbone_is_an_error():
    source = {n: array for n, array in network("mobilenet_v2", 0.35).items() if "Conv_1/" not in n}
    hole = {name: array for name, array in source.items() if "/expanded_conv_7/" not in name}
    with pytest.raises(ConversionError, match=r"15 missing \(-\)\n- MobilenetV2/expanded_conv_7"):
        converters.convert(hole)


def test_logits_without_the_last_convolution_are_an_error():
    source = {n: a for n, a in network(num_classes=3).items() if "/Conv2d_13_pointwise/" not in n}
    with pytest.raises(ConversionError, match=r"5 missing \(-\)\n- MobilenetV1/Conv2d_13_pointwise"):
        converters.convert(source)


def test_inception_with_gammas_in_two_stages(tmp_path):
    """The first stage of a detector ends at Mixed_4e; the oracle is slim's network with a scale in its batch norms."""
    from tf_slim.nets import inception_v2

    from tests.oracle.slim import slim as slim_layers

    images = made_up_images(64, 64)
    with tf.Graph().as_default(), tf.Session() as session:
        norm = {"is_training": False, "scale": True, "epsilon": 0.001}
        with slim_layers.arg_scope([slim_layers.conv2d], normalizer_fn=slim_layers.batch_norm, normalizer_params=norm):
            _, ends = inception_v2.inception_v2_base(tf.constant(images * 2 - 1), depth_multiplier=0.5)
        variables = made_up_variables({v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()})
        for variable in tf.global_variables():
            variable.load(variables[variable.op.name], session)
        expected = session.run({name: ends[name] for name in ("Mixed_4e", "Mixed_5c")})
    assert "InceptionV2/Mixed_4e/Branch_0/Conv2d_0a_1x1/BatchNorm/gamma" in variables
    stages = {f"{'Second' if '/Mixed_5' in name else 'First'}Stage/{name}": array for name, array in variables.items()}
    checkpoints.save_checkpoint(stages, tmp_path / "m.ckpt")
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(64, 64, 3))
    first = {name: array for name, array in variables.items() if "/Mixed_5" not in name}
    assert equal(conversion.model, first)
    converters.save_model(conversion, tmp_path / "m.keras")
    whole = converters.convert(variables, head="feature_map", input_shape=(64, 64, 3))
    assert equal(whole, variables)
    for model, name in ((conversion.model, "Mixed_4e"), (whole, "Mixed_5c")):
        np.testing.assert_allclose(model(images), expected[name], atol=1e-4 * np.abs(expected[name]).max())


# The list of differences.


def test_many_differences_are_counted_and_the_first_listed(tmp_path):
    variables = {name: array for name, array in network().items() if "BatchNorm" not in name}
    checkpoints.save_checkpoint(variables, tmp_path / "m.ckpt")
    command = ["convert", str(tmp_path / "m.ckpt"), "-o", str(tmp_path / "m.keras")]
    short, long = CliRunner().invoke(main, command), CliRunner().invoke(main, [*command, "--verbose"])
    assert short.exit_code == long.exit_code == 2
    assert "108 missing (-)" in short.stderr and "27 missing: gamma" in short.stderr
    assert sum(line.startswith("- ") for line in short.stderr.splitlines()) == 20
    assert "88 more; --verbose lists all" in short.stderr
    assert sum(line.startswith("- ") for line in long.stderr.splitlines()) == 108
    with pytest.raises(ConversionError) as error:
        converters.convert(variables)
    assert len(error.value.differences) == 108


def test_counts_by_scope():
    found = {f"net/block_{i}/{leaf}": 1 for i in range(3) for leaf in "abcdefghi"} | {"step": 0}
    text = describe(differences({"gone": 2}, found)).splitlines()
    assert text[0] == "1 missing (-), 28 left over (+)"
    assert text[1:6] == [
        "1 missing in gone",
        *(f"9 left over in net/block_{i}" for i in range(3)),
        "1 left over in step",
    ]
    assert by_scope([f"scope_{i}/x" for i in range(40)], most=2) == {"scope_0": 1, "scope_1": 1, "38 other scopes": 38}
