"""Slim's MobileNets with fixed padding by kernel size (`use_explicit_padding`) instead of SAME."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import converters
import mobilenets
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

MULTIPLIERS = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35}


def explicitly_padded(path, family):
    """Slim's graph with a Pad of one zero on every side before each 3x3 convolution, which takes VALID."""
    variables = made_up_variables(variable_shapes(family, MULTIPLIERS[family], num_classes=10))
    freeze(path, family, variables, depth_multiplier=MULTIPLIERS[family], num_classes=10, image_size=64)
    graph = tf.GraphDef.FromString(path.read_bytes())
    nodes = {node.name: node for node in graph.node}
    for node in list(graph.node):
        if node.op not in ("Conv2D", "DepthwiseConv2dNative"):
            continue
        kernel = tf.make_ndarray(nodes[nodes[node.input[1]].input[0]].attr["value"].tensor)
        if kernel.shape[0] == 1:
            continue
        amounts = graph.node.add(name=f"{node.name}/paddings", op="Const")
        amounts.attr["dtype"].type = tf.int32.as_datatype_enum
        amounts.attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        )
        pad = graph.node.add(name=f"{node.name}/Pad", op="Pad", input=[node.input[0], amounts.name])
        pad.attr["T"].type = tf.float32.as_datatype_enum
        pad.attr["Tpaddings"].type = tf.int32.as_datatype_enum
        node.input[0] = pad.name
        node.attr["padding"].s = b"VALID"
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2"])
def test_explicit_padding_is_read_from_the_graph(tmp_path, family):
    graph = explicitly_padded(tmp_path / "frozen.pb", family)
    conversion = converters.conversion_of(graph)
    assert conversion.configuration["padding"] == "explicit"
    manifest = converters.save_model(conversion, tmp_path / "m.keras")
    assert manifest["verification"]["outputs"]["compared"] == len(mobilenets.endpoints(conversion.model))
    loaded = converters.load_model(tmp_path / "m.keras")
    # With SAME, the model is another one.
    arguments = {
        key: value for key, value in conversion.configuration.items() if key not in ("family", "name", "padding")
    }
    same = mobilenets.CONSTRUCTORS[family](**arguments)
    same.set_weights(loaded.get_weights())
    assert not converters.verify(same, graph).passed


def test_padding_layers_are_no_endpoints():
    models = [mobilenets.MobileNetV2(0.35, (96, 96, 3), padding=padding) for padding in ("same", "explicit")]
    one, other = (list(mobilenets.endpoints(model)) for model in models)
    assert one == other
    with pytest.raises(ValueError, match="padding must be one of same, explicit"):
        mobilenets.MobileNetV1(padding="valid")
