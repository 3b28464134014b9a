"""Hub modules out: the contract of the published ones, and use where such modules are used."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters import ConversionError
from converters.cli import main
from converters.parity.outputs import own_outputs
from tests.networks import variant_of
from tests.oracle.recipes import made_up_images, made_up_variables
from tests.oracle.run import variable_shapes

TOLERANCE = 1e-5
# V2 and V3 keep their size; the others take any, whatever the model was built for.
SIZES = {"mobilenet_v1": (None, None), "mobilenet_v2": (64, 64)}
# A published model of each graph, the smallest; other multipliers and sizes change shapes alone. From 1.3 on, the last
# convolution of MobileNet V2 is scaled.
GRAPHS = [
    "mobilenet_v1_025_128",
    "mobilenet_v2_035_96",
    "mobilenet_v2_130_224",
    "mobilenet_v3_small_075_224",
    "mobilenet_v3_large_075_224",
    "mobilenet_v3_small_minimalistic_100_224",
    "mobilenet_v3_large_minimalistic_100_224",
    "inception_v2",
]


def made_up(family, multiplier, head, size=64, variant="large"):
    classes = 1001 if head == "classification" else None
    variables = made_up_variables(variable_shapes(family, multiplier, num_classes=classes, variant=variant))
    return converters.convert(variables, input_shape=(size, size, 3), head=head)


EXPORTS = [
    ("mobilenet_v1", 0.25, "classification"),
    ("mobilenet_v2", 0.35, "feature_vector"),
    ("mobilenet_v3", 0.35, "classification"),
    ("inception_v2", 0.25, "classification"),
]


# The contract is the same for all networks; what they compute is verified for each.
@pytest.fixture(scope="module", params=EXPORTS[:2], ids=str)
def exported(request, tmp_path_factory):
    family, multiplier, head = request.param
    model = made_up(family, multiplier, head)
    folder = tmp_path_factory.mktemp("exported") / "module"
    converters.export_hub(model, folder)
    return family, model, folder


def test_contract(exported):
    """What hub_modules of version 5 promise, as read off a genuine one."""
    family, model, folder = exported
    module = tf.saved_model.load(str(folder))
    names = {variable.name.removesuffix(":0") for variable in module.variables}
    found = converters.slim_variables(model)
    assert names == set(found)
    moving = {name for name in names if name.endswith(("moving_mean", "moving_variance"))}
    assert {variable.name.removesuffix(":0") for variable in module.trainable_variables} == names - moving
    (loss,) = module.regularization_losses
    assert float(loss()) == pytest.approx(float(sum(model.losses)), rel=1e-6)
    traces = module.__call__.concrete_functions
    assert len(traces) == 4
    (images, *_), _ = traces[0].structured_input_signature
    assert images.shape.as_list() == [None, *SIZES[family], 3]
    endpoints = set(mobilenets.endpoints(model))
    outputs = module(made_up_images(64, 64), return_endpoints=True)
    assert set(outputs) == endpoints | {"default"}
    vector = module(made_up_images(64, 64))
    assert np.array_equal(vector, outputs["default"])


@pytest.mark.core
def test_signatures(exported):
    _, model, folder = exported
    module = tf.saved_model.load(str(folder))
    images = made_up_images(64, 64)
    expected = own_outputs(model)(images)
    scope = next(iter(expected)).partition("/")[0]
    classification = f"{scope}/Logits" in expected
    heads = {"image_classification"} if classification else set()
    assert set(module.signatures) == {"serving_default", "default", "image_feature_vector"} | heads
    features = expected[f"{scope}/global_pool"][:, 0, 0]
    default = expected[f"{scope}/Logits"] if classification else features
    close = {"rtol": 0, "atol": TOLERANCE * np.abs(default).max()}
    np.testing.assert_allclose(module.signatures["serving_default"](inputs=images)["default"], default, **close)
    np.testing.assert_allclose(module.signatures["default"](images=images)["default"], default, **close)
    vector = module.signatures["image_feature_vector"](images=images)
    assert not {f"{scope}/Logits", f"{scope}/Predictions"} & set(vector)
    np.testing.assert_allclose(vector["default"], features, rtol=0, atol=TOLERANCE * np.abs(features).max())
    if classification:
        logits = module.signatures["image_classification"](images=images)
        assert set(logits) == set(expected) | {"default"}
        np.testing.assert_allclose(logits["default"], default, **close)


@pytest.mark.parametrize("exported", EXPORTS, indirect=True, ids=str)
def test_verified_in_both_modes_and_read_back(exported):
    """Export -> verify -> convert: the same outputs in both modes, and the same bits."""
    _, model, folder = exported
    report = converters.verify(model, folder, batch_norm_momentum=0.5)
    assert report.passed, str(report)
    held, found = checkpoints.load_variables(folder), converters.slim_variables(model)
    assert {name: array.tobytes() for name, array in held.items()} == {
        name: array.tobytes() for name, array in found.items()
    }


def test_any_size(exported):
    family, model, folder = exported
    module = tf.saved_model.load(str(folder))
    images = made_up_images(96, 80)
    if family == "mobilenet_v2":
        with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
            module(images)
        return
    larger = converters.convert(converters.slim_variables(model), input_shape=(96, 80, 3))
    np.testing.assert_allclose(module(images), larger(images), rtol=0, atol=1e-5 * np.abs(larger(images)).max())


def test_training_moves_statistics_by_the_momentum_given(exported):
    _, _, folder = exported
    module = tf.saved_model.load(str(folder))
    images = made_up_images(64, 64)
    variable = next(v for v in module.variables if v.name.endswith("moving_variance:0"))
    before = variable.numpy()
    module(images)
    assert np.array_equal(variable, before)
    module(images, training=True, batch_norm_momentum=1.0)
    assert np.array_equal(variable, before)
    module(images, training=True, batch_norm_momentum=0.0)
    fresh = variable.numpy()
    variable.assign(before)
    module(images, training=True, batch_norm_momentum=0.25)
    np.testing.assert_allclose(variable, 0.25 * before + 0.75 * fresh, rtol=1e-5)


def test_hub_keras_layer_trains_it(exported):
    """`hub.KerasLayer` in a tf_keras model, in a process of its own: tf_keras and Keras 3 take turns badly."""
    _, _, folder = exported
    code = f"""
        import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import numpy as np, tensorflow as tf, tensorflow_hub as hub, tf_keras
        layer = hub.KerasLayer({str(folder)!r}, trainable=True, arguments=dict(batch_norm_momentum=0.997))
        model = tf_keras.Sequential([tf_keras.Input((64, 64, 3)), layer, tf_keras.layers.Dense(2)])
        assert len(layer.losses) == 1 and float(layer.losses[0]) > 0
        before = {{v.name: v.numpy() for v in layer.variables}}
        model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        images = np.random.default_rng(0).uniform(size=(4, 64, 64, 3)).astype("float32")
        model.fit(images, np.array([0, 1, 0, 1]), verbose=0)
        moved = [v.name for v in layer.variables if not np.array_equal(before[v.name], v)]
        statistics = [n for n in before if "/moving_" in n]
        assert set(statistics) <= set(moved), set(statistics) - set(moved)
        assert any(n.endswith("weights:0") for n in moved)
        change = max(np.abs(before[v.name] - v).max() for v in layer.variables if v.name.endswith("moving_mean:0"))
        assert 0 < change < 0.1  # at momentum 0.997 they move little
        frozen = hub.KerasLayer({str(folder)!r}, signature="image_feature_vector", signature_outputs_as_dict=True)
        outputs = frozen(images)
        assert "default" in outputs and any(n.endswith("/global_pool") for n in outputs)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_keras_3_serves_it(exported):
    _, model, folder = exported
    layer = keras.layers.TFSMLayer(folder, call_endpoint="serving_default")
    images = made_up_images(64, 64)
    expected = np.asarray(model(images))
    np.testing.assert_allclose(layer(images)["default"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "head"),
    [
        *((name, "classification") for name in GRAPHS),
        # A feature vector's network is the beginning of a classifier's, and V2's is exported above.
        ("mobilenet_v3_small_075_224", "feature_vector"),
    ],
)
def test_round_trip_of_every_graph(name, head, tmp_path):
    """Export, load, every endpoint; export, convert, the same bits."""
    info = mobilenets.get_model_info(name)
    model = made_up(info.family, info.depth_multiplier, head, info.image_size, variant_of(info))
    converters.export_hub(model, tmp_path / "module")
    module = tf.saved_model.load(str(tmp_path / "module"))
    images = made_up_images(info.image_size, info.image_size)
    outputs, expected = module(images, return_endpoints=True), own_outputs(model)(images)
    assert set(outputs) == set(expected) | {"default"}
    for endpoint, array in expected.items():
        assert np.abs(outputs[endpoint] - array).max() <= TOLERANCE * np.abs(array).max(), endpoint
    again = converters.slim_variables(converters.conversion_of(tmp_path / "module").model)
    assert {key: array.tobytes() for key, array in again.items()} == {
        key: array.tobytes() for key, array in converters.slim_variables(model).items()
    }
    keras.backend.clear_session()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"head": "feature_map"}, "a hub module gives logits or a feature vector"),
        ({"rescale_inputs": False}, r"takes images in \[-1, 1\]"),
    ],
)
def test_models_that_cannot_be_modules(options, sentence, tmp_path):
    model = mobilenets.MobileNetV1(0.25, (64, 64, 3), **options)
    with pytest.raises(ConversionError, match=sentence):
        converters.export_hub(model, tmp_path / "module")
    assert not list(tmp_path.iterdir())


def test_existing_folder_and_missing_parent(tmp_path):
    model = mobilenets.MobileNetV1(0.25, (64, 64, 3))
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "mine").write_text("keep")
    with pytest.raises(ConversionError, match="module exists"):
        converters.export_hub(model, tmp_path / "module")
    assert (tmp_path / "module" / "mine").read_text() == "keep"
    with pytest.raises(ConversionError, match="no SavedModel; it will not be replaced"):
        converters.export_hub(model, tmp_path / "module", force=True)
    assert (tmp_path / "module" / "mine").read_text() == "keep"
    with pytest.raises(ValueError, match="none"):
        converters.export_hub(model, tmp_path / "none" / "module")


def test_command_writes_a_module_and_compares_it(tmp_path):
    model = made_up("mobilenet_v1", 0.25, "classification")
    model.save(tmp_path / "model.keras")
    arguments = ["export", str(tmp_path / "model.keras"), str(tmp_path / "module"), "--format", "hub"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "PASSED" in result.output
    assert tf.saved_model.load(str(tmp_path / "module")).variables
    assert CliRunner().invoke(main, arguments).exit_code == 2
    assert CliRunner().invoke(main, [*arguments, "--force", "--json"]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "module"]
