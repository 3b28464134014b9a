"""Frozen graphs after tools that remove Identities and fold batch norms: converted, and compared with slim's graph."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from click.testing import CliRunner
from google.protobuf import text_format
from tensorflow.python.framework import dtypes, graph_util
from tensorflow.python.tools import optimize_for_inference_lib

import converters
from converters.cli import main
from converters.weights import slim_variables
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

MULTIPLIERS = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "inception_v2": 0.25}
SCOPES = {"mobilenet_v1": "MobilenetV1", "mobilenet_v2": "MobilenetV2", "inception_v2": "InceptionV2"}
EPSILON = 1e-3


def variables_of(family):
    return made_up_variables(variable_shapes(family, MULTIPLIERS[family], num_classes=10))


def frozen(path, family):
    options = {"depth_multiplier": MULTIPLIERS[family], "num_classes": 10, "image_size": 64}
    freeze(path, family, variables_of(family), **options)
    return tf.GraphDef.FromString(path.read_bytes())


def wholly_folded(path, family):
    """As optimize_for_inference writes it; it reads Conv2D and depthwise convolutions with fused batch norms."""
    graph = frozen(path, family)
    output = f"{SCOPES[family]}/Predictions/Reshape_1"
    return optimize_for_inference_lib.optimize_for_inference(
        graph, ["input"], [output], dtypes.float32.as_datatype_enum
    )


def partly_folded(path, family):
    """Depthwise convolutions keep their batch norms and no constant has its name, as in Google's V2 graphs."""
    graph = graph_util.remove_training_nodes(frozen(path, family), [f"{SCOPES[family]}/Predictions/Reshape_1"])
    kept = {n.name: n.op for n in graph.node if "depthwise/" in n.name and n.op.startswith("FusedBatchNorm")}
    for node in graph.node:
        node.op = "Hidden" if node.name in kept else node.op
    folded = optimize_for_inference_lib.fold_batch_norms(graph)
    for node in folded.node:
        node.op = kept.get(node.name, node.op)
    return renamed_constants(folded)


def not_folded(path, family):
    """All batch norms are there, and no constant has its name."""
    graph = frozen(path, family)
    return renamed_constants(graph_util.remove_training_nodes(graph, [f"{SCOPES[family]}/Predictions/Reshape_1"]))


def renamed_constants(graph):
    names = {n.name: f"Const_{i}" for i, n in enumerate(n for n in graph.node if n.op == "Const")}
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(source, source) for source in node.input]
    return graph


def prefixed(graph, prefix):
    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [prefix + source for source in node.input]
    return graph


def folded_by_hand(variables):
    """Jacob et al. 2017, section 3.2, in float64 on slim's variables."""
    result = {}
    for name, kernel in variables.items():
        scope, _, leaf = name.rpartition("/")
        if leaf not in ("weights", "depthwise_weights", "pointwise_weights"):
            continue
        norm = {
            part: variables.get(f"{scope}/BatchNorm/{part}")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        if norm["beta"] is None:
            result[name], result[f"{scope}/biases"] = kernel, variables[f"{scope}/biases"]
            continue
        if leaf == "depthwise_weights" and f"{scope}/pointwise_weights" in variables:
            result[name] = kernel
            continue
        gamma = 1.0 if norm["gamma"] is None else norm["gamma"].astype(np.float64)
        scale = gamma / np.sqrt(norm["moving_variance"].astype(np.float64) + EPSILON)
        by_axis = scale[:, None] if leaf == "depthwise_weights" else scale
        result[name] = (kernel * by_axis).astype(np.float32)
        result[f"{scope}/biases"] = (norm["beta"] - norm["moving_mean"] * scale).astype(np.float32)
    return result


KINDS = {"wholly": wholly_folded, "partly": partly_folded, "constants without names": not_folded}


@pytest.mark.core
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "inception_v2"])
def test_a_folded_graph_gives_a_folded_model_with_the_same_outputs(tmp_path, family, kind):
    path = tmp_path / "folded.pb"
    path.write_bytes(KINDS[kind](path, family).SerializeToString())
    conversion = converters.conversion_of(path)
    assert any("folded" in note and "for inference" in note for note in conversion.notes)
    found = slim_variables(conversion.model)
    expected = folded_by_hand(variables_of(family))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6 * np.abs(array).max(), err_msg=name)
    # The unfolded graph of the same variables is the original.
    unfolded = tmp_path / "unfolded.pb"
    unfolded.write_bytes(frozen(unfolded, family).SerializeToString())
    for reference in (path, unfolded):
        report = converters.verify(conversion.model, reference)
        assert report.passed, str(report)


def test_a_partly_folded_graph_passes_in_float64_too(tmp_path):
    path = tmp_path / "folded.pb"
    path.write_bytes(partly_folded(path, "mobilenet_v2").SerializeToString())
    model = converters.convert(path)
    report = converters.verify(model, path, dtype="float64", partial=True)
    assert report.passed, str(report)
    kernel = next(w for w in model.weights if w.path.endswith("expanded_conv_3__expand/kernel"))
    kernel.assign(np.array(kernel) * np.float32(1 + 1e-5))
    assert not converters.verify(model, path, dtype="float64", partial=True).passed


def test_a_wholly_folded_graph_under_a_prefix(tmp_path):
    path = tmp_path / "folded.pb"
    path.write_bytes(prefixed(wholly_folded(path, "mobilenet_v1"), "import/net/").SerializeToString())
    found = slim_variables(converters.convert(path))
    assert found.keys() == folded_by_hand(variables_of("mobilenet_v1")).keys()


def test_constants_without_identities_are_variables(tmp_path):
    path = tmp_path / "frozen.pb"
    path.write_bytes(graph_util.remove_training_nodes(frozen(path, "mobilenet_v1")).SerializeToString())
    found = slim_variables(converters.convert(path))
    expected = variables_of("mobilenet_v1")
    assert found.keys() == expected.keys()
    assert all((found[name] == array).all() for name, array in expected.items())


def test_an_inception_graph_that_is_not_folded_gives_its_variables(tmp_path):
    """Its first convolution has a bias and no batch norm."""
    frozen(tmp_path / "frozen.pb", "inception_v2")
    found = slim_variables(converters.convert(tmp_path / "frozen.pb"))
    assert found.keys() == variables_of("inception_v2").keys()


def test_the_command_converts_and_verifies_a_folded_graph(tmp_path):
    path = tmp_path / "folded.pb"
    path.write_bytes(wholly_folded(path, "mobilenet_v1").SerializeToString())
    result = CliRunner().invoke(main, ["convert", str(path), "-o", str(tmp_path / "m.keras"), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["verification"]["weights"]["compared"] == 56
    assert facts["verification"]["outputs"]["compared"] > 20
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "m.keras"), str(path)])
    assert result.exit_code == 0, result.output
    assert converters.load_model(tmp_path / "m.keras").count_params() > 0


@pytest.mark.parametrize("name", ["text.pbtxt", "text.pb"])
def test_a_text_graph(tmp_path, name):
    graph = frozen(tmp_path / "frozen.pb", "mobilenet_v1")
    (tmp_path / name).write_text(text_format.MessageToString(graph))
    result = CliRunner().invoke(main, ["convert", str(tmp_path / name), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0, result.output
    assert "30 of the model's 30 endpoints agree" in " ".join(result.stdout.split())
    (tmp_path / "broken.pbtxt").write_text("node { name: ")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "broken.pbtxt"), "-o", str(tmp_path / "b.keras")])
    assert result.exit_code == 2 and "is not a text graph" in result.output


def test_a_frozen_graph_named_saved_model(tmp_path):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    frozen(folder / "saved_model.pb", "mobilenet_v1")
    for number, source in enumerate((folder, folder / "saved_model.pb")):
        output = tmp_path / f"{number}.keras"
        result = CliRunner().invoke(main, ["convert", str(source), "-o", str(output)])
        assert result.exit_code == 0, result.output
        result = CliRunner().invoke(main, ["verify", str(output), str(source)])
        assert result.exit_code == 0, result.output


def test_the_saved_model_file_alone_names_its_folder(tmp_path):
    # A schema version and an empty MetaGraphDef, as the first bytes of every SavedModel are.
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x04\x0a\x02\x08\x01")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "saved_model.pb"), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 2
    assert "is a SavedModel without variables" in result.output
