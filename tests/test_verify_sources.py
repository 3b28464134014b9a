"""What `convert` compares before a file gets its name, and what a comparison says about itself."""

import json
import pathlib
import shutil
import tarfile
import zipfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
from converters.cli import main
from tests.oracle import networks
from tests.oracle.files import freeze, write_checkpoint
from tests.oracle.hub_modules import write_tf1_module, write_tf2_module
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

V1 = made_up_variables(variable_shapes("mobilenet_v1", 0.25, num_classes=10))


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="mobilenets")


def graph_of(path, variables=V1, size=64, **options):
    freeze(path, "mobilenet_v1", variables, depth_multiplier=0.25, num_classes=10, image_size=size, **options)
    return path


def strides(monkeypatch, *changes):
    """Gives rows of the oracle's MobileNet V1 another stride: ``(row, stride)``."""
    rows = list(networks.V1_ROWS)
    for index, stride in changes:
        rows[index] = (stride, rows[index][1])
    monkeypatch.setattr(networks, "V1_ROWS", tuple(rows))


def test_a_checkpoint_has_no_graph(tmp_path):
    checkpoints.save_checkpoint(V1, tmp_path / "m.ckpt")
    result = invoke("convert", tmp_path / "m.ckpt", "-o", tmp_path / "m.keras")
    assert result.exit_code == 0, result.output
    assert "not compared, the source has no graph" in result.stdout
    assert "137 variables of the saved file equal the source's bit for bit" in result.stdout


@pytest.mark.core
def test_a_frozen_graph_is_run(tmp_path):
    graph = graph_of(tmp_path / "frozen.pb", size=96)
    result = invoke("convert", graph, "-o", tmp_path / "m.keras", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["verification"]["outputs"]["compared"] == 30
    assert facts["configuration"]["input_shape"] == [96, 96, 3]
    assert any("images of 96x96 pixels in [-1, 1]" in note for note in facts["notes"])


@pytest.mark.parametrize("write", [write_tf1_module, write_tf2_module])
def test_a_module_is_run(write, tmp_path):
    write(tmp_path / "module", "mobilenet_v1", V1, 0.25, 64, num_classes=10)
    result = invoke("convert", tmp_path / "module", "-o", tmp_path / "m.keras", "--image-size", "64", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verification"]["outputs"]["compared"] == 30


@pytest.mark.parametrize("packed", [True, False])
def test_a_graph_next_to_the_checkpoint_is_run(packed, tmp_path):
    """As Google's archives hold it."""
    folder = tmp_path / "archive"
    folder.mkdir()
    checkpoints.save_checkpoint(V1, folder / "m.ckpt")
    graph_of(folder / "m_frozen.pb")
    source = folder
    if packed:
        source = tmp_path / "m.tgz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, "m")
    arguments = ("convert", source, "--image-size", "64", "-o", tmp_path / "m.keras", "--json")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verification"]["outputs"]["compared"] == 30
    # The graph of another network next to it.
    name = "MobilenetV1/Conv2d_3_pointwise/weights"
    graph_of(folder / "m_frozen.pb", V1 | {name: -V1[name]})
    if packed:
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, "m")
    result = invoke(*arguments, "--force")
    assert result.exit_code == 1 and "MobilenetV1/Conv2d_3_pointwise first" in result.stderr


def test_other_strides_that_can_be_built(monkeypatch, tmp_path):
    strides(monkeypatch, (0, 1))
    graph = graph_of(tmp_path / "cifar.pb", size=32)
    result = invoke("convert", graph, "-o", tmp_path / "m.keras", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["configuration"]["first_stride"] == 1 and facts["verification"]["outputs"]["compared"] == 30
    assert invoke("verify", tmp_path / "m.keras", graph, "--float64").exit_code == 0


def test_strides_of_a_meta_file(monkeypatch, tmp_path):
    strides(monkeypatch, (0, 1))
    write_checkpoint(tmp_path / "m.ckpt", "mobilenet_v1", 0.25, num_classes=10, image_size=32, meta_graph=True)
    conversion = converters.conversion_of(tmp_path / "m.ckpt", input_shape=(32, 32, 3))
    assert conversion.configuration["first_stride"] == 1
    assert any("other strides" in note for note in conversion.notes)
    manifest = converters.save_model(conversion, tmp_path / "m.keras")
    assert "strides are those of its .meta file" in manifest["verification"]["outputs"]["result"]


def test_strides_of_a_meta_file_that_cannot_be_built(monkeypatch, tmp_path):
    strides(monkeypatch, (2, 1))
    write_checkpoint(tmp_path / "m.ckpt", "mobilenet_v1", 0.25, num_classes=10, image_size=32, meta_graph=True)
    with pytest.raises(converters.ConversionError, match=r"has stride 1 and dilation 1, the network 2 and 1"):
        converters.convert(tmp_path / "m.ckpt")
    manifest = converters.save_model(
        converters.conversion_of(tmp_path / "m.ckpt", first_stride=2), tmp_path / "m.keras"
    )
    assert "those of the published network" in manifest["verification"]["outputs"]["result"]


@pytest.mark.core
@pytest.mark.parametrize("changes", [[(2, 1)], [(4, 1), (6, 1)], [(1, 2)]])
def test_other_strides_that_cannot_be_built_are_refused_with_both_shapes(changes, monkeypatch, tmp_path):
    strides(monkeypatch, *changes)
    graph = graph_of(tmp_path / "other.pb", size=64)
    result = invoke("convert", graph, "-o", tmp_path / "m.keras")
    assert result.exit_code == 1, result.output
    assert "in the source's graph" in result.stderr and "in the model" in result.stderr
    assert "verified" not in result.stdout and not (tmp_path / "m.keras").exists()
    with pytest.raises(converters.VerificationError) as error:
        converters.save_model(converters.conversion_of(graph), tmp_path / "m.keras")
    assert error.value.reports[-1].first_failure.model_shape != error.value.reports[-1].first_failure.shape
    assert invoke("convert", graph, "-o", tmp_path / "m.keras", "--no-verify").exit_code == 0


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    checkpoints.save_checkpoint(V1, folder / "m.ckpt")
    converters.save_model(converters.conversion_of(folder / "m.ckpt", input_shape=(64, 64, 3)), folder / "m.keras")
    graph_of(folder / "frozen.pb")
    return folder


def tampered(source, target, change):
    """A copy of a ``.keras`` file and its manifest in which the configuration of each layer went through ``change``."""
    shutil.copy(source.with_name("m.manifest.json"), target.with_name(f"{target.stem}.manifest.json"))
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                for layer in config["config"]["layers"]:
                    change(layer["class_name"], layer["config"])
                data = json.dumps(config)
            new.writestr(name, data)
    return target


def edit(kind, key, value):
    def change(class_name, config):
        if class_name == kind:
            config[key] = value

    return change


CHANGES = {
    "epsilon": edit("BatchNormalization", "epsilon", 0.1),
    "no bound": edit("ReLU", "max_value", None),
    "offset": edit("Rescaling", "offset", 0.0),
    "padding": edit("AveragePooling2D", "padding", "valid"),
    "keepdims": edit("Conv2D", "activation", "relu"),
}


@pytest.mark.parametrize("what", ["epsilon", "no bound", "offset", "keepdims"])
def test_a_changed_configuration_is_found(what, saved, tmp_path):
    """With the same weights, next to the same manifest."""
    file = tampered(saved / "m.keras", tmp_path / "t.keras", CHANGES[what])
    with pytest.raises(converters.ConversionError, match="in another network"):
        converters.load_model(file)
    for reference in (saved / "m.ckpt", tmp_path / "t.manifest.json", saved / "frozen.pb"):
        report = converters.verify(file, reference)
        assert not report.passed, reference
    assert any(row.name.startswith("layer ") for row in converters.verify(file, saved / "m.ckpt").rows)


def test_a_manifest_of_before_structures_were_kept(saved, tmp_path):
    manifest = json.loads((saved / "m.manifest.json").read_text())
    del manifest["structure"], manifest["verification"]
    shutil.copy(saved / "m.keras", tmp_path / "m.keras")
    (tmp_path / "m.manifest.json").write_text(json.dumps(manifest))
    assert converters.load_model(tmp_path / "m.keras")
    file = tampered(saved / "m.keras", tmp_path / "t.keras", CHANGES["epsilon"])
    (tmp_path / "t.manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(converters.ConversionError, match="in another network"):
        converters.load_model(file)


def test_few_endpoints_are_not_enough(saved, tmp_path):
    """A graph that ends early proves nothing about what follows."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString((saved / "frozen.pb").read_bytes())
    kept = tf.compat.v1.graph_util.extract_sub_graph(definition, ["MobilenetV1/MobilenetV1/Conv2d_2_pointwise/Relu6"])
    (tmp_path / "short.pb").write_bytes(kept.SerializeToString())
    report = converters.verify(saved / "m.keras", tmp_path / "short.pb")
    assert not report.passed and all(row.passed for row in report.rows)
    assert "5 of the model's 30 endpoints compared" in str(report).splitlines()[0]
    assert converters.verify(saved / "m.keras", tmp_path / "short.pb", partial=True).passed
    assert invoke("verify", saved / "m.keras", tmp_path / "short.pb").exit_code == 1
    assert invoke("verify", saved / "m.keras", tmp_path / "short.pb", "--partial").exit_code == 0


def test_the_order_of_the_arguments(saved):
    result = invoke("verify", saved / "frozen.pb", saved / "m.keras")
    assert result.exit_code == 2 and f"mobilenets verify {saved / 'm.keras'}" in result.output
    with pytest.raises(converters.ConversionError, match="Give the Keras model first"):
        converters.verify(str(saved / "frozen.pb"), saved / "m.keras")


def test_different_networks_are_called_that(saved, tmp_path):
    v2 = made_up_variables(variable_shapes("mobilenet_v2", 1.0))
    report = converters.verify(saved / "m.keras", v2)
    assert not report.passed
    assert any("the model is mobilenet_v1 0.25, the reference mobilenet_v2 1" in note for note in report.notes)
    freeze(tmp_path / "v2.pb", "mobilenet_v2", made_up_variables(variable_shapes("mobilenet_v2", 0.35)),
           depth_multiplier=0.35, image_size=64)  # fmt: skip
    with pytest.raises(converters.ConversionError, match="different networks"):
        converters.verify(saved / "m.keras", tmp_path / "v2.pb")


def test_the_verdict_is_first_and_last(saved):
    lines = str(converters.verify(saved / "m.keras", saved / "frozen.pb")).splitlines()
    assert lines[0] == lines[-1] and lines[0].startswith("PASSED")
    assert all(line == line.rstrip() for line in lines)


def test_a_model_of_another_precision_is_compared_as_it_is(saved):
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = converters.convert(V1, input_shape=(64, 64, 3))
    finally:
        keras.config.set_dtype_policy(with_policy)
    report = converters.verify(model, saved / "frozen.pb")
    assert report.passed
    logits = next(row for row in report.rows if row.name == "MobilenetV1/Logits")
    assert logits.model_error > 100 * logits.rounding > 0


def test_the_exact_model_from_another_process(saved, tmp_path):
    """As a program on another backend computes it."""
    from converters.parity.exact import _in_another_process, exact_values

    model = converters.load_model(saved / "m.keras")
    images = np.random.default_rng(1).uniform(size=(1, 64, 64, 3)).astype(np.float32)
    here = exact_values(model, images)
    there = _in_another_process(pathlib.Path(tmp_path), model, images, None, False, False)
    assert here.rounding == pytest.approx(there.rounding, rel=0.5, abs=1e-6)
    assert all(np.allclose(here.values[name], there.values[name], rtol=1e-12, atol=1e-12) for name in here.values)
