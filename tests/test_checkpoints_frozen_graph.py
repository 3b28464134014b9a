"""Frozen graphs that TensorFlow wrote, damaged ones and other graphs."""

import numpy as np
import pytest
import tensorflow as tf

import checkpoints

VARIABLES = {
    "net/Conv/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "net/Conv/BatchNorm/gamma": np.array([-0.0, np.nan], np.float32),
    "net/Conv/BatchNorm/beta": np.zeros(2, np.float32),
    "global_step": np.array(7, np.int64),
}


def frozen(variables=VARIABLES, resource=False):
    """Returns a graph of TF1 variables frozen by TensorFlow, with other constants that are no variables."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        values = [v1.Variable(value, name=name, use_resource=resource) for name, value in variables.items()]
        sums = [tf.add(value.read_value() if resource else value, tf.constant(1, value.dtype)) for value in values]
        session.run(v1.global_variables_initializer())
        outputs = [node.op.name for node in sums]
        return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)


def save(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def refused(path, message):
    with pytest.raises(checkpoints.CheckpointError, match=message) as info:
        checkpoints.load_variables(path)
    assert str(path) in str(info.value)


@pytest.mark.parametrize("resource", [False, True])
def test_variables_of_a_frozen_graph(tmp_path, resource):
    path = save(tmp_path / "x.pb", frozen(resource=resource))
    with checkpoints.open_variables(path) as variables:
        assert variables.format == "frozen graph" and variables.files == (path,)
        assert list(variables) == sorted(VARIABLES)
        for name, array in VARIABLES.items():
            assert variables.shapes[name] == array.shape and variables.dtypes[name] == array.dtype
            assert variables[name].tobytes() == array.tobytes()
            variables[name][...] = 0  # a copy
            assert variables[name].tobytes() == array.tobytes()


def test_a_constant_of_strings_is_no_variable(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.identity(tf.constant(["panda"], name="labels"))
        tf.identity(tf.constant([1.0], name="a"))
    assert list(checkpoints.load_variables(save(tmp_path / "x.pb", graph.as_graph_def()))) == ["a"]


def test_a_graph_that_is_not_frozen(tmp_path):
    for resource in (False, True):
        with tf.Graph().as_default() as graph:
            tf.compat.v1.Variable([1.0], name="a", use_resource=resource)
        refused(save(tmp_path / "x.pb", graph.as_graph_def()), "not a frozen one")


def test_graphs_without_variables(tmp_path):
    refused(save(tmp_path / "x.pb", tf.compat.v1.GraphDef(versions={"producer": 26})), "holds no variables")
    tf.saved_model.save(tf.train.Checkpoint(a=tf.Variable(1.0)), str(tmp_path / "saved"))
    # The file stands for the SavedModel that it belongs to.
    saved = checkpoints.load_variables(tmp_path / "saved" / "saved_model.pb")
    assert 1.0 in saved.values() and saved == checkpoints.load_variables(tmp_path / "saved")


def damaged(**fields):
    graph = frozen({"a": np.ones((2, 3), np.float32)})
    tensor = next(node.attr["value"].tensor for node in graph.node if node.name == "a")
    for field, value in fields.items():
        if field == "shape":
            tensor.tensor_shape.CopyFrom(tf.TensorShape(None).as_proto())
            tensor.tensor_shape.unknown_rank = False
            for size in value:
                tensor.tensor_shape.dim.add(size=size)
        else:
            setattr(tensor, field, value)
    return graph


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [2, 4]},
        {"shape": [-1]},
        {"shape": [1] * 65},
        {"shape": [2**40]},
        {"shape": [2**40], "tensor_content": b""},
        {"dtype": 999},
        {"dtype": 0},
        {"tensor_content": b"too short"},
    ],
    ids=str,
)
def test_an_inconsistent_constant_is_refused(tmp_path, fields):
    refused(save(tmp_path / "x.pb", damaged(**fields)), "damaged|is refused: its variables")


@pytest.mark.parametrize("values", [[], [1.5], [1.5, 2.5]])
def test_a_single_value_for_all_elements(tmp_path, values):
    """TensorFlow repeats the last value; no values are zeros."""
    graph = damaged(tensor_content=b"")
    next(node for node in graph.node if node.name == "a").attr["value"].tensor.float_val.extend(values)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        (expected,) = session.run(tf.import_graph_def(graph, return_elements=["a:0"]))
    loaded = checkpoints.load_variables(save(tmp_path / "x.pb", graph))
    np.testing.assert_array_equal(loaded["a"], expected, strict=True)


def test_a_truncated_graph_is_detected(tmp_path):
    whole = frozen().SerializeToString()
    path = tmp_path / "x.pb"
    for length in range(1, len(whole), 41):
        path.write_bytes(whole[:length])
        try:
            loaded = checkpoints.load_variables(path)
        except checkpoints.CheckpointError as error:
            assert str(path) in str(error)
        else:  # cut between two nodes, a graph is a smaller graph
            assert set(loaded) <= set(VARIABLES)
            assert all(loaded[name].tobytes() == VARIABLES[name].tobytes() for name in loaded)
