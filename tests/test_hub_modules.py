"""TF-Hub modules of either format as source and as reference: made here by live slim graphs, and a genuine one."""

import shutil
import tarfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters import ConversionError, ConversionWarning
from converters.cli import main
from converters.hub.module import open_hub_module
from converters.parity.fused_batch_norm import FusedBatchNormalization
from tests.oracle.hub_modules import write_tf1_module, write_tf2_module
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

CASES = [("mobilenet_v1", 0.25, 64), ("mobilenet_v2", 0.35, 64), ("mobilenet_v3", 0.35, 64), ("inception_v2", 0.25, 64)]
WRITERS = {"TF1 format": write_tf1_module, "TF2 SavedModel": write_tf2_module}
MODULES = [(*case, form) for case in CASES for form in WRITERS]
# Where the network makes no difference: the smallest one in either format.
of_one_network = pytest.mark.parametrize("module", MODULES[:2], indirect=True, ids=str)


@pytest.fixture(scope="module", params=MODULES, ids=str)
def module(request, tmp_path_factory):
    """``(folder, family, multiplier, size, variables, form)`` of a module without a name that says anything."""
    family, multiplier, size, form = request.param
    variables = made_up_variables(variable_shapes(family, multiplier))
    folder = tmp_path_factory.mktemp("modules") / "1"
    WRITERS[form](folder, family, variables, multiplier, size)
    return folder, family, multiplier, size, variables, form


def test_module_is_a_source(module):
    folder, family, multiplier, size, variables, form = module
    conversion = converters.conversion_of(folder)
    assert conversion.source_format == f"hub module ({form})"
    assert conversion.configuration["family"] == family
    assert conversion.configuration["depth_multiplier"] == multiplier
    # Only the modules of MobileNet V2 and V3 have a size of their own.
    assert conversion.model.input_shape[1] == (size if family in ("mobilenet_v2", "mobilenet_v3") else 224)
    found = converters.slim_variables(conversion.model)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in variables.items()
    }
    assert conversion.set_aside == {}


@pytest.fixture(scope="module")
def verified(module):
    """The model of its variables, and the report of a comparison with it."""
    folder, _, _, size, variables, _ = module
    model = converters.convert(variables, input_shape=(size, size, 3))
    return model, converters.verify(model, folder, batch_norm_momentum=0.5)


@pytest.mark.core
def test_every_output_agrees_in_inference_and_in_training(module, verified):
    family, variables = module[1], module[4]
    report = verified[1]
    assert report.passed, str(report)
    names = [row.name for row in report.rows]
    outputs = [name for name in names if not name.startswith(("training: ", "after it: ", "regularization"))]
    scope = next(iter(variables)).partition("/")[0]
    expected = {"mobilenet_v1": 31, "mobilenet_v2": 73, "mobilenet_v3": 67, "inception_v2": 19}[family]
    assert len(outputs) == expected and f"{scope}/global_pool" in outputs and "default" in outputs
    # In training mode all but what comes after the dropout: logits, predictions and default.
    assert sum(name.startswith("training: ") for name in names) == expected - 3
    moving = [name for name in variables if name.endswith(("moving_mean", "moving_variance"))]
    assert {f"after it: {name}" for name in moving} <= set(names)
    assert names[-1] == "regularization loss"


@of_one_network
def test_verification_leaves_model_and_module_as_they_were(module, verified):
    folder, variables = module[0], module[4]
    model, first = verified
    assert converters.verify(model, folder, batch_norm_momentum=0.5).to_json() == first.to_json()
    assert all((array == variables[name]).all() for name, array in converters.slim_variables(model).items())


def test_version_1_has_no_momentum_to_give(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    write_tf1_module(tmp_path / "1", "mobilenet_v1", variables, 0.25, 64, batch_norm_hparams=False)
    report = converters.verify(converters.convert(variables, input_shape=(64, 64, 3)), tmp_path / "1")
    assert report.passed and any("takes no momentum" in note for note in report.notes)
    titles = {row.name.partition(": ")[0] for row in report.rows if ": " in row.name}
    assert titles == {"training"} and report.rows[-1].name == "regularization loss"
    name = "MobilenetV1/Conv2d_13_pointwise/weights"
    other = converters.convert(variables | {name: variables[name] * 1.01}, input_shape=(64, 64, 3))
    assert not converters.verify(other, tmp_path / "1").passed


def test_a_difference_is_detected(module):
    folder, _, _, size, variables, form = module
    leaf = "weights" if form == "TF1 format" else "BatchNorm/moving_variance"
    name = [name for name in variables if name.endswith(leaf) and "Logits" not in name][-1]
    model = converters.convert(variables | {name: variables[name] * 1.01}, input_shape=(size, size, 3))
    assert not converters.verify(model, folder).passed


@of_one_network
def test_momentum_counts(module, verified):
    """A model that updates otherwise than the module does differs in the moving statistics, and there alone."""
    folder, size = module[0], module[3]
    model = verified[0]
    images = np.random.default_rng(1).uniform(size=(2, size, size, 3)).astype(np.float32)
    moved = open_hub_module(folder).train(images, 0.5).moving_statistics
    other = mobilenets.with_batch_norm(model, FusedBatchNormalization, momentum=0.6)
    other(images, training=True)
    mine = converters.slim_variables(other)
    assert all(np.abs(mine[name] - array).max() > 1e-3 * np.abs(array).max() for name, array in moved.items())


@of_one_network
def test_archive_as_published(module, tmp_path):
    folder, _, _, size, variables, _ = module
    archive = tmp_path / "1.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        members.add(folder, ".")
    model = converters.convert(archive, input_shape=(size, size, 3))
    assert all((array == variables[name]).all() for name, array in converters.slim_variables(model).items())
    assert converters.verify(model, archive).passed


@pytest.mark.parametrize("form", WRITERS)
def test_feature_vector_modules(form, tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35, num_classes=None))
    WRITERS[form](tmp_path / "module", "mobilenet_v2", variables, 0.35, 64, classification=False)
    with pytest.warns(ConversionWarning, match="feature vector"):
        model = converters.convert(tmp_path / "module")
    report = converters.verify(model, tmp_path / "module", batch_norm_momentum=0.5)
    assert report.passed
    # No dropout: the default output is compared in training mode too.
    assert "training: default" in [row.name for row in report.rows]


@of_one_network
def test_which_values_a_module_carries(module, tmp_path):
    """Given the training checkpoint and the module of the same model: averaged or plain, per variable."""
    folder, _, _, _, variables, _ = module
    averaged = {name for name in variables if not name.endswith(("moving_mean", "moving_variance"))}
    held = {name: array + 1 if name in averaged else array for name, array in variables.items()}
    held |= {f"{name}/ExponentialMovingAverage": variables[name] for name in averaged}
    checkpoints.save_checkpoint(held, tmp_path / "model.ckpt")
    report = converters.verify(folder, tmp_path / "model.ckpt")
    assert report.passed
    assert f"{len(averaged)} of {len(averaged)} trainable variables equal the averaged values" in report.notes[0]
    assert f"0 of {len(averaged)} trainable variables equal the plain values" in report.notes[1]
    result = CliRunner().invoke(main, ["verify", str(folder), str(tmp_path / "model.ckpt")])
    assert result.exit_code == 0 and "equal the averaged values" in result.output


GENUINE = "hub/mobilenet_v2_100_224_feature_vector"
CHECKPOINT = "real/mobilenet_v2_1.0_224_raw_backbone.ckpt"


@pytest.mark.parametrize("source", [GENUINE, CHECKPOINT])
def test_the_genuine_module(shared, source):
    """Its 260 variables bit for bit, all 71 outputs, training mode at momentum 0.5, and the regularization loss."""
    with pytest.warns(ConversionWarning, match="feature vector"):
        model = converters.convert(shared / source)
    held, found = checkpoints.load_variables(shared / GENUINE), converters.slim_variables(model)
    assert len(found) == 260
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in held.items()
    }
    report = converters.verify(model, shared / GENUINE, batch_norm_momentum=0.5)
    assert report.passed, str(report)
    names = [row.name for row in report.rows]
    assert len([name for name in names if ": " not in name and name != "regularization loss"]) == 71
    assert len([name for name in names if name.startswith("training: ")]) == 71
    assert len([name for name in names if name.startswith("after it: ")]) == 104
    assert report.rows[-1].max_relative < 1e-6


def test_which_values_the_genuine_module_carries(shared):
    report = converters.verify(shared / GENUINE, shared / CHECKPOINT)
    assert report.passed and "156 of 156 trainable variables equal the plain values" in report.notes[0]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    folder = tmp_path_factory.mktemp("healthy")
    for form, writer in WRITERS.items():
        writer(folder / form[:3], "mobilenet_v1", variables, 0.25, 64)
    return folder, variables


def _no_data(folder):
    (folder / "variables" / "variables.data-00000-of-00001").unlink()


def _no_variables(folder):
    shutil.rmtree(folder / "variables")


def _cut_graph(folder):
    content = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(content[: len(content) // 2])


def _empty_graph(folder):
    (folder / "saved_model.pb").write_bytes(b"")


def _without_a_variable(folder):
    """As a graph that was pruned leaves it: the variable is in no graph and no checkpoint."""
    name = "MobilenetV1/Conv2d_5_depthwise/depthwise_weights"
    variables = checkpoints.load_variables(folder)
    checkpoints.save_checkpoint({key: v for key, v in variables.items() if key != name}, folder / "variables/variables")


def _quantized(folder):
    variables = checkpoints.load_variables(folder)
    changed = {f"{key}/quantized": v.astype(np.int8) if v.ndim == 4 else v for key, v in variables.items()}
    checkpoints.save_checkpoint(changed, folder / "variables/variables")


@pytest.mark.parametrize("form", ["TF1", "TF2"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_no_data, "variables.data-00000-of-00001 is missing"),
        (_no_variables, "variables.index is missing"),
        (_cut_graph, "saved_model.pb in it is not a SavedModel"),
        (_empty_graph, "no TF-Hub module|nothing in it takes images"),
        (_without_a_variable, "depthwise_weights"),
        (_quantized, "quantized|MobilenetV1|no TF-Hub module"),
    ],
)
def test_damaged_modules(healthy, form, damage, sentence, tmp_path):
    folder = tmp_path / "module"
    shutil.copytree(healthy[0] / form, folder)
    damage(folder)
    with pytest.raises(ValueError, match=sentence) as error:
        converters.convert(folder)
    assert str(tmp_path) in str(error.value)
    result = CliRunner().invoke(main, ["convert", str(folder), "-o", str(tmp_path / "o.keras")])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert not (tmp_path / "o.keras").exists()


def test_saved_models_that_are_no_modules(tmp_path):
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(2, 3)])
    model.export(tmp_path / "saved", verbose=False)
    network = converters.convert(made_up_variables(variable_shapes("mobilenet_v1", 0.25)), input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match="saved"):
        converters.convert(tmp_path / "saved")
    with pytest.raises(ConversionError, match=r"saved is .*SavedModel|saved cannot be opened"):
        converters.verify(network, tmp_path / "saved")


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan"), 2])
def test_momentum_out_of_range(healthy, momentum):
    folder, variables = healthy
    model = converters.convert(variables, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match=r"batch_norm_momentum must lie in \[0, 1\)"):
        converters.verify(model, folder / "TF2", batch_norm_momentum=momentum)


def test_images_of_another_size(tmp_path):
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35))
    write_tf2_module(tmp_path / "module", "mobilenet_v2", variables, 0.35, 64)
    model = converters.convert(variables, input_shape=(96, 96, 3))
    with pytest.raises(ConversionError, match=r"The model takes images of \(96, 96\), the reference \(64, 64\)"):
        converters.verify(model, tmp_path / "module")
