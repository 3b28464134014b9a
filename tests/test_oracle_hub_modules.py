"""The hub modules that the oracle writes: laid out as the published ones, and computing what the network computes."""

import functools

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("tf_slim")
pytest.importorskip("tensorflow_hub")

import tensorflow_hub as hub
from tensorflow.core.protobuf import saved_model_pb2

from tests import oracle
from tests.oracle import hub_modules

SIZE, CLASSES, MOMENTUM = 64, 11, 0.5
MULTIPLIERS = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "inception_v2": 0.5}
WRITERS = {"tf1": hub_modules.write_tf1_module, "tf2": hub_modules.write_tf2_module}
IMAGES = oracle.made_up_images(SIZE, SIZE)

families = pytest.mark.parametrize("family", MULTIPLIERS)
modules = pytest.mark.parametrize(
    ("family", "classification"), [*((family, True) for family in MULTIPLIERS), ("mobilenet_v2", False)]
)


@functools.cache
def made_up_variables(family, classification=True):
    num_classes = CLASSES if classification else None
    return oracle.made_up_variables(oracle.variable_shapes(family, MULTIPLIERS[family], num_classes=num_classes))


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """`module(format, family, classification)`: the folder of a module, written once."""
    folders = {}

    def write(form, family, classification=True):
        key = form, family, classification
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("modules") / "module"
            WRITERS[form](
                folders[key],
                family,
                made_up_variables(family, classification),
                MULTIPLIERS[family],
                SIZE,
                classification=classification,
                num_classes=CLASSES,
                dropout_keep_prob=1.0,
            )
        return str(folders[key])

    return write


@functools.cache
def expected_outputs(family, classification):
    """By hub name; the heads are left out of a feature vector module, `default` is a module's main output."""
    num_classes = CLASSES if classification else None
    variables = made_up_variables(family, classification)
    endpoints = oracle.run(family, variables, IMAGES, depth_multiplier=MULTIPLIERS[family], num_classes=num_classes)
    outputs = {f"{oracle.FAMILIES[family].scope}/{name}": array for name, array in endpoints.items()}
    outputs["default"] = endpoints["Logits"] if classification else np.squeeze(endpoints["global_pool"], (1, 2))
    return outputs


@functools.cache
def training_step(family):
    return oracle.train_step(
        family,
        made_up_variables(family),
        IMAGES,
        depth_multiplier=MULTIPLIERS[family],
        num_classes=CLASSES,
        batch_norm_decay=MOMENTUM,
    )


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


@modules
def test_tf1_module_is_laid_out_as_published(module, family, classification):
    folder = module("tf1", family, classification)
    with open(f"{folder}/tfhub_module.pb", "rb") as file:
        assert file.read() == b"\x08\x03"
    reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    variables = made_up_variables(family, classification)
    assert set(reader.get_variable_to_shape_map()) == set(variables)
    assert all(np.array_equal(reader.get_tensor(name), array) for name, array in variables.items())

    with open(f"{folder}/saved_model.pb", "rb") as file:
        graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    assert [list(graph.meta_info_def.tags) for graph in graphs] == [[], ["train"]]
    heads_on_offer = ["image_feature_vector", *(["image_classification"] if classification else [])]
    size = SIZE if family == "mobilenet_v2" else -1
    for graph in graphs:
        signatures = graph.signature_def
        assert set(signatures) == {"default", *heads_on_offer, *(f"{name}_with_bn_hparams" for name in heads_on_offer)}
        for name, signature in signatures.items():
            extra = {"batch_norm_momentum"} if name.endswith("_with_bn_hparams") else set()
            assert set(signature.inputs) == {"images"} | extra
            assert [axis.size for axis in signature.inputs["images"].tensor_shape.dim] == [-1, size, size, 3]
        assert len(graph.collection_def["regularization_losses"].node_list.value) > 0
        (attachment,) = graph.collection_def["hub_module_attachments"].bytes_list.value
        assert attachment == b"\x0a\x11image_module_info\x12\x06\x0a\x04\x08\x40\x10\x40"
    assert "update_ops" not in graphs[0].collection_def
    assert len(graphs[1].collection_def["update_ops"].node_list.value) > 0


@modules
def test_tf1_module_computes_the_endpoints(module, family, classification):
    loaded = hub.load(module("tf1", family, classification))
    expected = expected_outputs(family, classification)
    images = tf.constant(IMAGES)
    momentum = tf.constant(0.9)

    assert_same(loaded.signatures["default"](images=images), {"default": expected["default"]})
    features = {name: array for name, array in expected.items() if not name.endswith(("/Logits", "/Predictions"))}
    features["default"] = np.squeeze(expected[f"{oracle.FAMILIES[family].scope}/global_pool"], (1, 2))
    named = {"image_feature_vector": features} | ({"image_classification": expected} if classification else {})
    for name, outputs in named.items():
        assert_same(loaded.signatures[name](images=images), outputs)
        with_momentum = loaded.signatures[f"{name}_with_bn_hparams"]
        assert_same(with_momentum(images=images, batch_norm_momentum=momentum), outputs)


@families
def test_tf1_training_graph_trains_as_the_network(module, family):
    step = training_step(family)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["train"], module("tf1", family))
        signature = meta_graph.signature_def["image_classification_with_bn_hparams"]
        feeds = {
            signature.inputs["images"].name: IMAGES,
            signature.inputs["batch_norm_momentum"].name: MOMENTUM,
        }
        losses = tf.compat.v1.losses.get_regularization_losses()
        logits, regularization, _ = session.run(
            (signature.outputs["default"].name, tf.add_n(losses), graph.get_collection("update_ops")), feeds
        )
        moving = session.run({v.op.name: v for v in tf.compat.v1.global_variables() if v.op.name in step.moving})
    assert_same({"logits": logits}, {"logits": step.logits})
    assert regularization == pytest.approx(step.regularization_loss, rel=1e-6)
    assert_same(moving, step.moving)


@modules
def test_tf2_module_keeps_the_contract(module, family, classification):
    loaded = hub.load(module("tf2", family, classification))
    variables = made_up_variables(family, classification)
    trainable = [name for name in variables if "moving_" not in name]
    assert [variable.name for variable in loaded.variables] == [f"{name}:0" for name in variables]
    assert [variable.name for variable in loaded.trainable_variables] == [f"{name}:0" for name in trainable]
    assert all(np.array_equal(v, variables[v.name.removesuffix(":0")]) for v in loaded.variables)
    assert len(loaded.regularization_losses) == 1
    assert set(loaded.signatures) == {"serving_default"}

    expected = expected_outputs(family, classification)
    assert_same({"default": loaded(IMAGES)}, {"default": expected["default"]})
    assert_same(loaded(IMAGES, return_endpoints=True), expected)
    assert_same(loaded(IMAGES, training=False, return_endpoints=True, batch_norm_momentum=0.9), expected)
    if family == "mobilenet_v2" and not classification:
        assert len(expected) == 71

    traces = loaded.__call__.concrete_functions
    size = SIZE if family == "mobilenet_v2" else None
    assert len(traces) == 4
    assert {tuple(trace.structured_input_signature[0][0].shape) for trace in traces} == {(None, size, size, 3)}


@families
def test_tf2_module_trains_as_the_network(module, family):
    step = training_step(family)
    loaded = tf.saved_model.load(module("tf2", family))
    assert float(loaded.regularization_losses[0]()) == pytest.approx(step.regularization_loss, rel=1e-6)

    outputs = loaded(IMAGES, training=True, return_endpoints=True, batch_norm_momentum=MOMENTUM)
    expected = {f"{oracle.FAMILIES[family].scope}/{name}": array for name, array in step.endpoints.items()}
    assert_same(outputs, expected | {"default": step.logits})
    names = {variable.name.removesuffix(":0"): variable.numpy() for variable in loaded.variables}
    assert_same({name: names[name] for name in step.moving}, step.moving)


def test_version_4_has_no_signatures(tmp_path):
    variables = made_up_variables("mobilenet_v1")
    hub_modules.write_tf2_module(
        tmp_path / "module", "mobilenet_v1", variables, 0.25, SIZE, num_classes=CLASSES, signatures=False
    )
    assert not tf.saved_model.load(str(tmp_path / "module")).signatures


def test_tf2_module_serves_a_keras_layer(module):
    layer = hub.KerasLayer(module("tf2", "mobilenet_v1"), trainable=True, arguments={"batch_norm_momentum": MOMENTUM})
    step = training_step("mobilenet_v1")
    logits = layer(IMAGES, training=True)
    assert_same({"logits": logits}, {"logits": step.logits})
    assert len(layer.trainable_weights) == len(step.gradients)
    assert_same({v.name.removesuffix(":0"): v.numpy() for v in layer.non_trainable_weights}, step.moving)
