"""Graphs with renamed scopes, archives of one graph or LiteRT model, and graphs next to a checkpoint."""

import json
import tarfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from click.testing import CliRunner
from tensorflow.python.framework import graph_util

import checkpoints
import converters
from converters import ConversionError, opening
from converters.cli import main
from converters.graphs.frozen_graph import FrozenGraph
from mobilenets import SCOPES
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

MULTIPLIERS = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "inception_v2": 0.25}


def values(family="mobilenet_v1", seed=0):
    return made_up_variables(variable_shapes(family, MULTIPLIERS[family], num_classes=3), seed)


def frozen(path, family="mobilenet_v1", seed=0, image_size=64):
    options = {"depth_multiplier": MULTIPLIERS[family], "num_classes": 3, "image_size": image_size}
    freeze(path, family, values(family, seed), **options)
    return tf.GraphDef.FromString(path.read_bytes())


def renamed(graph, change):
    """The graph with ``change(name)`` for every name of a node."""
    for node in graph.node:
        node.name = change(node.name)
        node.input[:] = [change(name) for name in node.input]
    return graph


def without_names(graph):
    """Constants are called ``Const_n``, and no Identity reads them, as after optimize_for_inference."""
    graph = graph_util.remove_training_nodes(graph)
    names = {node.name: f"Const_{index}" for index, node in enumerate(graph.node) if node.op == "Const"}
    return renamed(graph, lambda name: names.get(name, name))


def packed(archive, *files):
    with tarfile.open(archive, "w:gz") as stream:
        for file in files:
            stream.add(file, f"model/{file.name}")
    return archive


RENAMINGS = {
    "renamed": lambda name, scope: name.replace(scope, "my_net"),
    "renamed and deeper": lambda name, scope: f"import/tower/{name.replace(scope, scope.lower())}",
    # "input" is the name of the placeholder already.
    "no scope": lambda name, scope: name.replace(f"{scope}/input", "net_input").replace(f"{scope}/", ""),
}


@pytest.mark.parametrize(
    ("has_names", "renaming"), [*((True, renaming) for renaming in RENAMINGS), (False, "renamed and deeper")]
)
@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "inception_v2"])
def test_a_renamed_scope_in_a_graph(tmp_path, family, renaming, has_names):
    original, path = tmp_path / "original.pb", tmp_path / "renamed.pb"
    graph = frozen(original, family)
    graph = graph if has_names else without_names(graph)
    scope = SCOPES[family]
    path.write_bytes(renamed(graph, lambda name: RENAMINGS[renaming](name, scope)).SerializeToString())
    conversion = converters.conversion_of(path)
    assert conversion.model.input_shape[1] == 64
    if has_names:
        found, expected = converters.slim_variables(conversion.model), values(family)
        assert found.keys() == expected.keys()
        assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    report = converters.verify(conversion.model, original)  # slim's graph is the original
    assert report.passed, str(report)
    images = np.random.default_rng(0).uniform(size=(1, 64, 64, 3)).astype(np.float32)
    ours, theirs = FrozenGraph(path).run(images), FrozenGraph(original).run(images)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_of_two_networks_in_a_graph_the_named_one_is_read_and_run(tmp_path):
    graph = renamed(frozen(tmp_path / "a.pb", seed=1), lambda name: f"one/{name}" if "Mobilenet" in name else name)
    other = renamed(frozen(tmp_path / "b.pb", seed=2), lambda name: f"two/{name}" if "Mobilenet" in name else name)
    known = {node.name for node in graph.node}
    graph.node.extend(node for node in other.node if node.name not in known)
    both = tmp_path / "both.pb"
    both.write_bytes(graph.SerializeToString())
    with pytest.raises(ConversionError, match=r"2 networks: one/MobilenetV1 .*two/MobilenetV1"):
        converters.convert(both)
    for scope, seed, original in (("one/MobilenetV1", 1, "a.pb"), ("two/MobilenetV1", 2, "b.pb")):
        output = tmp_path / f"{seed}.keras"
        result = CliRunner().invoke(main, ["convert", str(both), "-o", str(output), "--scope", scope])
        assert result.exit_code == 0, result.output
        assert "endpoints agree" in result.output
        assert converters.verify(output, tmp_path / original).passed
        assert converters.verify(output, both, scope=scope).passed
    assert not converters.verify(tmp_path / "1.keras", both, scope="two/MobilenetV1").passed


@pytest.mark.parametrize("has_names", [True, False])
def test_an_archive_of_one_graph(tmp_path, has_names):
    graph = frozen(tmp_path / "original.pb")
    file = tmp_path / "frozen.pb"
    file.write_bytes((graph if has_names else without_names(graph)).SerializeToString())
    archive = packed(tmp_path / "model.tgz", file)
    result = CliRunner().invoke(main, ["convert", str(archive), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0, result.output
    assert "endpoints agree with the source's graph" in result.output
    model = converters.load_model(tmp_path / "m.keras")
    assert model.input_shape[1] == 64
    assert converters.verify(model, tmp_path / "original.pb").passed
    assert converters.verify(model, archive).comparison == "outputs"


def test_a_bad_graph_in_an_archive_is_named_by_its_archive(tmp_path):
    graph = without_names(frozen(tmp_path / "original.pb"))
    for node in graph.node:
        if node.op == "Conv2D":
            node.attr["data_format"].s = b"NCHW"
    (tmp_path / "bad.pb").write_bytes(graph.SerializeToString())
    archive = packed(tmp_path / "model.tgz", tmp_path / "bad.pb")
    with pytest.raises(ConversionError, match=rf"^{archive}/bad\.pb has channels first"):
        converters.convert(archive)


def test_an_archive_of_one_litert_model(tmp_path):
    pytest.importorskip("ai_edge_litert")
    from tests.test_convert_litert import converted_by_tensorflow

    graph = converted_by_tensorflow(tmp_path / "model.tflite", "mobilenet_v1")
    archive = packed(tmp_path / "model.tgz", tmp_path / "model.tflite")
    result = CliRunner().invoke(main, ["convert", str(archive), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0 and "endpoints agree" in result.output, result.output
    assert converters.verify(tmp_path / "m.keras", graph).passed
    (tmp_path / "other.tflite").write_bytes((tmp_path / "model.tflite").read_bytes())
    two = packed(tmp_path / "two.tgz", tmp_path / "model.tflite", tmp_path / "other.tflite")
    result = CliRunner().invoke(main, ["convert", str(two), "-o", str(tmp_path / "n.keras")])
    assert result.exit_code == 2 and "holds 2 LiteRT models" in result.output


@pytest.fixture
def with_graph(tmp_path):
    """A folder with a checkpoint and the graph that it was frozen to, for images of 96x96."""
    folder = tmp_path / "trained"
    folder.mkdir()
    checkpoints.save_checkpoint(values(), folder / "model.ckpt")
    frozen(folder / "frozen.pb", image_size=96)
    return folder


def test_the_graph_next_to_a_checkpoint_gives_the_image_size(with_graph, tmp_path):
    archive = packed(tmp_path / "trained.tgz", *sorted(with_graph.iterdir()))
    for source in (with_graph, with_graph / "model.ckpt", with_graph / "model.ckpt.index", archive):
        conversion = converters.conversion_of(source)
        assert conversion.model.input_shape[1] == 96, source
        assert any("image size 96x96 are those of frozen.pb" in note for note in conversion.notes)
    assert converters.convert(with_graph, input_shape=(64, 64)).input_shape[1] == 64


@pytest.mark.parametrize("members", ["model.ckpt.*", "frozen.pb", "*"])
def test_an_archive_is_converted_and_saved_in_python(with_graph, members, tmp_path):
    archive = packed(tmp_path / "trained.tgz", *sorted(with_graph.glob(members)))
    manifest = converters.save_model(converters.conversion_of(archive), tmp_path / "m.keras")
    assert manifest["verification"]["weights"]["compared"] == 137
    assert manifest["verification"]["outputs"]["compared"] == (0 if members == "model.ckpt.*" else 30)
    with opening.open_source(archive) as variables:  # nothing else holds the unpacked files
        assert variables["MobilenetV1/Conv2d_0/BatchNorm/beta"].shape == (8,)


def outputs_of(source, output, *options):
    """What the command says of the outputs."""
    result = CliRunner().invoke(main, ["convert", str(source), "-o", str(output), "--json", "--force", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["verification"]["outputs"]["result"]


def test_the_graph_next_to_a_checkpoint_is_compared(with_graph, tmp_path):
    source, output = with_graph / "model.ckpt", tmp_path / "m.keras"
    assert outputs_of(source, output).startswith("30 of the model's 30 endpoints agree")
    assert "not compared with the graph next to the checkpoint" in outputs_of(source, output, "--image-size", "64")
    for origin in (source, with_graph / "frozen.pb"):
        assert outputs_of(origin, output, "--num-classes", "5").startswith("28 of the model's 30 endpoints agree")
    frozen(with_graph / "frozen.pb", seed=1, image_size=96)
    assert outputs_of(source, output) == "not compared, frozen.pb next to the checkpoint has other weights"
    result = CliRunner().invoke(main, ["convert", str(with_graph), "-o", str(tmp_path / "n.keras")])
    assert result.exit_code == 1 and "endpoints differ" in result.output


def test_a_graph_with_the_same_weights_and_other_outputs_is_an_error(with_graph, tmp_path):
    graph = tf.GraphDef.FromString((with_graph / "frozen.pb").read_bytes())
    for node in graph.node:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["epsilon"].f = 0.1
    (with_graph / "frozen.pb").write_bytes(graph.SerializeToString())
    output = tmp_path / "m.keras"
    result = CliRunner().invoke(main, ["convert", str(with_graph / "model.ckpt"), "-o", str(output)])
    assert result.exit_code == 1 and not output.exists()


def test_a_graph_in_training_mode_gives_its_weights(tmp_path):
    graph = frozen(tmp_path / "frozen.pb")
    for node in graph.node:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["is_training"].b = True
    (tmp_path / "trains.pb").write_bytes(graph.SerializeToString())
    output = tmp_path / "m.keras"
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "trains.pb"), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "not compared, the source's graph runs in training mode" in " ".join(result.output.split())
    assert converters.verify(output, tmp_path / "frozen.pb").passed
    report = converters.verify(output, tmp_path / "trains.pb")
    assert not report.passed and "is_training=True" in str(report)


def test_a_damaged_meta_file_is_a_note(tmp_path):
    """A state file or a folder names the checkpoint; its weights do not depend on the graph next to it."""
    checkpoints.save_checkpoint(values(), tmp_path / "model.ckpt-7")
    (tmp_path / "model.ckpt-7.meta").write_bytes(b"meta")
    conversion = converters.conversion_of(tmp_path / "model.ckpt-7", input_shape=(64, 64))
    assert any(
        "no MetaGraphDef" in note and "Strides and padding are not compared" in note for note in conversion.notes
    )


@pytest.mark.parametrize("other", ["a second graph", "a second checkpoint", "another family", "no graph"])
def test_a_graph_that_may_not_be_its_own_gives_nothing(with_graph, other):
    if other == "a second graph":
        frozen(with_graph / "other.pb")
    elif other == "a second checkpoint":
        checkpoints.save_checkpoint(values(seed=1), with_graph / "other.ckpt")
    elif other == "another family":
        frozen(with_graph / "frozen.pb", "mobilenet_v2")
    else:
        (with_graph / "frozen.pb").write_bytes(b"\x0a\x00")
    assert converters.convert(with_graph / "model.ckpt").input_shape[1] == 224
