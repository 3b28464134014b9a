"""Archives with two checkpoints of one network, as those of MobileNet V3: ``ema/`` and ``pristine/``."""

import tarfile

import numpy as np
import pytest

import checkpoints
import converters
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

AVERAGE = "ExponentialMovingAverage"
ROOT = "v3-small_224_0.75_float"


@pytest.fixture(scope="module")
def copies():
    """The variables of the two checkpoints: averaged values, and the trainer's with slots and averages."""
    shapes = variable_shapes("mobilenet_v3", 0.75, variant="small")
    ema, pristine = made_up_variables(shapes, seed=1), made_up_variables(shapes, seed=2)
    slots = {f"{name}/{AVERAGE}": array + 1 for name, array in pristine.items() if "/moving_" not in name}
    return ema, pristine, {**pristine, **slots, "global_step": np.int64(497500)}


@pytest.fixture(scope="module")
def folder(copies, tmp_path_factory):
    """An unpacked archive."""
    top = tmp_path_factory.mktemp("copies") / ROOT
    for name, variables in (("ema/model-497500", copies[0]), ("pristine/model.ckpt-497500", copies[2])):
        (top / name).parent.mkdir(parents=True)
        checkpoints.save_checkpoint(variables, top / name)
    return top


@pytest.fixture(scope="module", params=["archive", "folder"])
def source(request, folder):
    if request.param == "folder":
        return folder
    path = folder.parent / f"{ROOT}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ROOT)
    return path


def test_the_averaged_checkpoint_is_opened_unless_the_other_is_named(source, copies):
    name = "MobilenetV3/Conv/weights"
    for pristine in (False, True):
        with checkpoints.open_variables(source, pristine=pristine) as variables:
            assert variables.copy == ("pristine" if pristine else "ema")
            np.testing.assert_array_equal(variables[name], copies[pristine][name])


@pytest.mark.parametrize("ema", ["auto", "always", "never"])
def test_conversion_takes_the_copy_that_the_policy_needs(source, copies, ema):
    conversion = converters.conversion_of(source, head="feature_vector", ema=ema)
    expected = copies[ema == "never"]
    for name, array in converters.slim_variables(conversion.model).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert conversion.configuration["name"] == "mobilenet_v3_small_075_224"
    assert conversion.copy == ("pristine" if ema == "never" else "ema")
    assert (conversion.averaged > 0) is (ema != "never")
    assert any(f"{conversion.copy}/ was taken" in note for note in conversion.notes)


@pytest.mark.parametrize("ema", ["auto", "never"])
def test_the_saved_file_is_compared_with_the_copy_that_was_taken(folder, tmp_path, ema):
    conversion = converters.conversion_of(folder, head="feature_vector", ema=ema)
    file = tmp_path / "model.keras"
    converters.save_model(conversion, file)
    assert converters.verify(file, folder).passed
    assert converters.verify(file, folder, ema=ema).passed
    assert not converters.verify(file, folder, ema="never" if ema == "auto" else "always").passed


def test_two_other_checkpoints_are_still_refused(folder, tmp_path):
    path = tmp_path / "two.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "ema", "one")
        archive.add(folder / "pristine", "two")
    with pytest.raises(checkpoints.CheckpointError, match="holds 2 files of variables"):
        checkpoints.open_variables(path)
