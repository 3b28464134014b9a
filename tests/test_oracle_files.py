"""The files that the oracle writes: complete as a slim trainer's, readable by TensorFlow, true to the variables."""

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("tf_slim")

from tests import oracle
from tests.oracle import files

AVERAGE = "ExponentialMovingAverage"


def trainables(names):
    return [name for name in names if "moving_" not in name.rsplit("/", 1)[-1]]


@pytest.mark.parametrize(
    ("family", "options", "slots", "scalars"),
    [
        ("mobilenet_v1", {}, ("RMSProp", "RMSProp_1"), ()),
        ("mobilenet_v1", {"optimizer": "momentum", "shards": 3}, ("Momentum",), ()),
        ("mobilenet_v1", {"optimizer": "adagrad", "version": 1}, ("Adagrad",), ()),
        ("mobilenet_v1", {"optimizer": "sgd", "averages": False, "meta_graph": True}, (), ()),
        (
            "mobilenet_v1",
            {"optimizer": "adam", "average_moving": True},
            ("Adam", "Adam_1"),
            ("beta1_power", "beta2_power"),
        ),
        ("mobilenet_v2", {}, ("RMSProp", "RMSProp_1"), ()),
        ("inception_v2", {"version": 1}, ("RMSProp", "RMSProp_1"), ()),
    ],
)
def test_checkpoint_holds_what_a_trainer_saves(tmp_path, family, options, slots, scalars):
    prefix = tmp_path / "model.ckpt"
    multiplier = 0.25 if family == "mobilenet_v1" else 0.5
    values = files.write_checkpoint(prefix, family, multiplier, num_classes=11, **options)

    variables = oracle.variable_shapes(family, multiplier, num_classes=11)
    averaged = variables if options.get("average_moving") else trainables(variables)
    companions = {f"{name}/{slot}" for name in trainables(variables) for slot in slots}
    if options.get("averages", True):
        companions |= {f"{name}/{AVERAGE}" for name in averaged}
    assert set(values) == {*variables, *companions, *scalars, "global_step"}
    assert values["global_step"] == 1
    assert all(np.isfinite(array).all() for array in values.values())
    for name in companions:
        if not name.startswith("MobilenetV2") or "/project/BatchNorm/beta/" not in name:
            assert not np.array_equal(values[name], values[name.rpartition("/")[0]]), name
            assert values[name].any(), name

    reader = tf.train.load_checkpoint(str(prefix))
    assert set(reader.get_variable_to_shape_map()) == set(values)
    for name, array in values.items():
        np.testing.assert_array_equal(reader.get_tensor(name), array, err_msg=name)

    shards = options.get("shards", 1)
    expected = {"model.ckpt"} if options.get("version") == 1 else {"model.ckpt.index"}
    if options.get("version") != 1:
        expected |= {f"model.ckpt.data-{index:05d}-of-{shards:05d}" for index in range(shards)}
    if options.get("meta_graph"):
        expected.add("model.ckpt.meta")
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("family", "size", "operations"),
    [
        (
            "mobilenet_v1",
            None,
            {
                "Conv2d_0": "MobilenetV1/MobilenetV1/Conv2d_0/Relu6",
                "Conv2d_13_depthwise": "MobilenetV1/MobilenetV1/Conv2d_13_depthwise/Relu6",
                "global_pool": "MobilenetV1/Logits/global_pool",
                "Logits": "MobilenetV1/Logits/SpatialSqueeze",
                "Predictions": "MobilenetV1/Predictions/Reshape_1",
            },
        ),
        (
            "mobilenet_v2",
            (96, 64),
            {
                "layer_1": "MobilenetV2/Conv/Relu6",
                "layer_2/depthwise_output": "MobilenetV2/expanded_conv/depthwise_output",
                "layer_3/expansion_output": "MobilenetV2/expanded_conv_1/expansion_output",
                "layer_4": "MobilenetV2/expanded_conv_2/output",
                "layer_19": "MobilenetV2/Conv_1/Relu6",
                "global_pool": "MobilenetV2/Logits/AvgPool",
                "Logits": "MobilenetV2/Logits/output",
                "Predictions": "MobilenetV2/Predictions/Reshape_1",
            },
        ),
        (
            "inception_v2",
            None,
            {
                "Conv2d_1a_7x7": "InceptionV2/InceptionV2/Conv2d_1a_7x7/Relu",
                "MaxPool_2a_3x3": "InceptionV2/InceptionV2/MaxPool_2a_3x3/MaxPool",
                "Mixed_3b": "InceptionV2/InceptionV2/Mixed_3b/concat",
                "global_pool": "InceptionV2/Logits/global_pool",
                "Logits": "InceptionV2/Logits/SpatialSqueeze",
                "Predictions": "InceptionV2/Predictions/Reshape_1",
            },
        ),
    ],
)
def test_frozen_graph_computes_the_endpoints(tmp_path, family, size, operations, dtype):
    variables = oracle.made_up_variables(oracle.variable_shapes(family, 0.5, num_classes=11))
    images = oracle.made_up_images(96, 64)
    path = tmp_path / "frozen.pb"
    files.freeze(path, family, variables, depth_multiplier=0.5, image_size=size, num_classes=11, dtype=dtype)

    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const"}
    readers = {node.name for node in graph_def.node if node.op == "Identity"}
    for name, array in variables.items():
        np.testing.assert_array_equal(constants[name], array.astype(dtype), err_msg=name)
        assert f"{name}/read" in readers
    fused = [node for node in graph_def.node if node.op == "FusedBatchNormV3"]
    assert bool(fused) == (dtype == "float32")

    expected = oracle.run(family, variables, images, depth_multiplier=0.5, num_classes=11, dtype=dtype)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        tensors = {endpoint: graph.get_tensor_by_name(f"{name}:0") for endpoint, name in operations.items()}
        actual = session.run(tensors, {"input:0": images.astype(dtype) * 2 - 1})
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for endpoint, array in actual.items():
        bound = tolerance * np.abs(expected[endpoint]).max()
        np.testing.assert_allclose(array, expected[endpoint], rtol=0, atol=bound, err_msg=endpoint)
