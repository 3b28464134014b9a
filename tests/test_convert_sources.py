"""Real slim training checkpoints of all families, in both formats and every form, with averages and slots."""

import tarfile

import numpy as np
import pytest

import checkpoints
import converters
from converters import ConversionError, ConversionWarning
from tests.oracle.files import freeze, write_checkpoint
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

FAMILIES = [("mobilenet_v1", 0.25), ("mobilenet_v2", 0.35), ("mobilenet_v3", 0.35), ("inception_v2", 0.25)]
AVERAGE = "/ExponentialMovingAverage"
MOVING = ("moving_mean", "moving_variance")


@pytest.fixture(scope="module", params=[(*family, version) for family in FAMILIES for version in (1, 2)], ids=str)
def trained(request, tmp_path_factory):
    """``(prefix, everything that tf-slim's saver wrote)`` of one step of training."""
    family, multiplier, version = request.param
    prefix = tmp_path_factory.mktemp("trained") / "model.ckpt"
    written = write_checkpoint(prefix, family, multiplier, version=version)
    return family, multiplier, prefix, written


def network_variables(written):
    return {name for name in written if f"{name}/RMSProp" in written or name.endswith(MOVING)}


def test_the_checkpoint_is_a_real_one(trained):
    _, _, _, written = trained
    assert "global_step" in written
    names = network_variables(written)
    trainable = {name for name in names if not name.endswith(MOVING)}
    assert all(name + AVERAGE in written for name in trainable)
    assert all((written[name] != written[name + AVERAGE]).any() for name in trainable if name.endswith("weights"))


@pytest.mark.parametrize(("ema", "averaged"), [("auto", True), ("always", True), ("never", False)])
def test_averages(trained, ema, averaged):
    _, multiplier, prefix, written = trained
    conversion = converters.conversion_of(prefix, ema=ema, input_shape=(96, 96, 3))
    found = converters.slim_variables(conversion.model)
    assert set(found) == network_variables(written)
    for name, array in found.items():
        source = name + AVERAGE if averaged and not name.endswith(MOVING) else name
        assert array.tobytes() == written[source].tobytes(), name
    trainable = sum(not name.endswith(MOVING) for name in found)
    assert conversion.averaged == (trainable if averaged else 0)
    assert conversion.configuration["depth_multiplier"] == multiplier
    # Every entry is either in the model or counted among what was set aside.
    assert len(found) + sum(conversion.set_aside.values()) == len(written)
    assert conversion.set_aside["RMSProp"] == conversion.set_aside["RMSProp_1"] == trainable
    assert conversion.set_aside["global_step"] == 1


def test_verify_tells_which_values_the_model_carries(trained):
    _, _, prefix, _ = trained
    for ema, kind in (("always", "averaged"), ("never", "plain")):
        model = converters.convert(prefix, ema=ema, input_shape=(96, 96, 3))
        report = converters.verify(model, prefix)
        assert report.passed and kind in report.notes[0]
        other = {"always": "never", "never": "always"}[ema]
        assert not converters.verify(model, prefix, ema=other).passed


def test_an_average_that_only_some_have_is_an_error(trained):
    _, _, _, written = trained
    name = next(name for name in written if name.endswith("weights" + AVERAGE))
    partial = {key: array for key, array in written.items() if key != name}
    with pytest.raises(ConversionError, match=name.removesuffix(AVERAGE)):
        converters.convert(partial, input_shape=(96, 96, 3))
    converters.convert(partial, input_shape=(96, 96, 3), ema="never")


def test_averages_alone_are_enough(trained):
    """Some releases hold only the averages, next to the plain moving statistics."""
    _, _, _, written = trained
    alone = {name: array for name, array in written.items() if name.endswith((AVERAGE, *MOVING))}
    found = converters.slim_variables(converters.convert(alone, input_shape=(96, 96, 3)))
    assert all(
        (array == alone.get(name + AVERAGE, alone.get(name))).all()
        for name, array in found.items()
        if not name.endswith(MOVING)
    )
    with pytest.raises(ConversionError, match="holds averages but no plain values"):
        converters.convert(alone, input_shape=(96, 96, 3), ema="never")


@pytest.mark.parametrize("optimizer", ["Momentum", "Adam", "Adagrad"])
def test_other_optimizers(optimizer, tmp_path):
    written = write_checkpoint(
        tmp_path / "model.ckpt", "mobilenet_v1", 0.25, optimizer=optimizer.lower(), averages=False
    )
    conversion = converters.conversion_of(tmp_path / "model.ckpt", input_shape=(96, 96, 3))
    assert len(converters.slim_variables(conversion.model)) + sum(conversion.set_aside.values()) == len(written)
    assert conversion.set_aside[optimizer] == 83


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The same variables in every form that a source may have."""
    folder = tmp_path_factory.mktemp("forms")
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    name = "mobilenet_v1_0.25_160"
    v2 = folder / "v2"
    v2.mkdir()
    checkpoints.save_checkpoint(variables, v2 / f"{name}.ckpt")
    checkpoints.save_checkpoint(variables, folder / f"{name}.ckpt", version=1)
    checkpoints.save_hdf5(variables, folder / f"{name}.h5")
    freeze(folder / f"{name}_frozen.pb", "mobilenet_v1", variables, depth_multiplier=0.25, image_size=160)
    with tarfile.open(folder / f"{name}.tgz", "w:gz") as archive:
        for member in sorted(v2.iterdir()):
            archive.add(member, f"./{member.name}")
        archive.add(folder / f"{name}_frozen.pb", f"./{name}_frozen.pb")
    return folder, variables


@pytest.mark.parametrize(
    "form",
    [
        "v2/mobilenet_v1_0.25_160.ckpt",
        "v2/mobilenet_v1_0.25_160.ckpt.index",
        "v2/mobilenet_v1_0.25_160.ckpt.data-00000-of-00001",
        "v2",
        "mobilenet_v1_0.25_160.ckpt",
        "mobilenet_v1_0.25_160.tgz",
        "mobilenet_v1_0.25_160_frozen.pb",
        "mobilenet_v1_0.25_160.h5",
    ],
)
def test_every_form_gives_the_same_model(forms, form):
    folder, variables = forms
    conversion = converters.conversion_of(folder / form)
    found = converters.slim_variables(conversion.model)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in variables.items()
    }
    # A folder's own name says no size; a file's does.
    assert conversion.model.input_shape[1] == (224 if form == "v2" else 160)
    assert converters.verify(conversion.model, folder / "v2").passed


@pytest.mark.parametrize(("family", "multiplier"), FAMILIES)
def test_slim_to_keras_to_slim_is_the_same_bits(family, multiplier, tmp_path):
    variables = made_up_variables(variable_shapes(family, multiplier))
    conversion = converters.conversion_of(variables, input_shape=(96, 96, 3))
    converters.save_model(conversion, tmp_path / "model.keras")
    back = converters.slim_variables(converters.load_model(tmp_path / "model.keras"))
    for version in (1, 2):
        prefix = tmp_path / f"back-{version}.ckpt"
        checkpoints.save_checkpoint(back, prefix, version=version)
        again = checkpoints.load_variables(prefix)
        assert {name: array.tobytes() for name, array in again.items()} == {
            name: array.tobytes() for name, array in variables.items()
        }


def test_without_logits_it_is_a_feature_vector_model_and_says_so():
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35, num_classes=None))
    with pytest.warns(ConversionWarning, match="holds no logits weights; the model is a feature vector model"):
        model = converters.convert(variables, input_shape=(96, 96, 3))
    assert model.output_shape == (None, 1280)


@pytest.mark.parametrize("head", ["feature_vector", "feature_map"])
def test_logits_that_a_head_does_not_use_are_counted(head):
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35))
    conversion = converters.conversion_of(variables, head=head, input_shape=(96, 96, 3))
    assert conversion.set_aside == {"logits": 2}
    assert len(converters.slim_variables(conversion.model)) == 260


def test_a_new_head_keeps_every_other_weight():
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35))
    with pytest.warns(ConversionWarning, match="5 classes.*Logits/Conv2d_1c_1x1/biases.*Logits/Conv2d_1c_1x1/weights"):
        model = converters.convert(variables, num_classes=5, input_shape=(96, 96, 3))
    found = converters.slim_variables(model)
    assert model.output_shape == (None, 5)
    for name, array in found.items():
        assert ("/Logits/" in name) or (array == variables[name]).all()


def test_options_reach_the_model():
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    model = converters.convert(
        variables, input_shape=(None, None, 3), batch_norm_momentum=0.9, weight_decay=None, output_stride=16
    )
    assert model.input_shape == (None, None, None, 3)
    assert model.get_layer("MobilenetV1__Conv2d_0__BatchNorm").momentum == 0.9
    assert not model.losses
    assert model.get_layer("MobilenetV1__Conv2d_12_depthwise").strides == (1, 1)


def test_scaled_last_layer_is_recognised():
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.6, finegrain=False))
    model = converters.convert(variables, head="feature_vector", input_shape=(96, 96, 3))
    assert model.output_shape == (None, 768)


def test_float64_variables_need_a_float64_model():
    variables = {
        name: array.astype(np.float64)
        for name, array in made_up_variables(variable_shapes("mobilenet_v1", 0.25)).items()
    }
    with pytest.raises(ConversionError, match="float64 values that float32 weights cannot keep"):
        converters.convert(variables)


@pytest.mark.parametrize("with_graph", [False, True])
def test_an_archive_is_unpacked_once(with_graph, tmp_path, monkeypatch):
    """By `convert` with its verification, and by `verify`."""
    from click.testing import CliRunner

    from checkpoints import reading
    from converters.cli import main

    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    folder = tmp_path / "mobilenet_v1_0.25_128"
    folder.mkdir()
    checkpoints.save_checkpoint(variables, folder / "m.ckpt")
    if with_graph:
        freeze(folder / "frozen.pb", "mobilenet_v1", variables, depth_multiplier=0.25, image_size=128)
    archive = tmp_path / "mobilenet_v1_0.25_128.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, "m")
    calls, unpack = [], reading.unpack
    monkeypatch.setattr(reading, "unpack", lambda *arguments: calls.append(1) or unpack(*arguments))
    result = CliRunner().invoke(main, ["convert", str(archive), "-o", str(tmp_path / "m.keras")])
    assert result.exit_code == 0 and len(calls) == 1, result.output
    assert converters.verify(tmp_path / "m.keras", archive).passed and len(calls) == 2
