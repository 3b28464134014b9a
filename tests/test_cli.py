"""The command line as a user meets it: in a process of its own, or through click's runner where speed matters."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters.cli import main
from tests.embedding_job import write_images
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

NAME = "mobilenet_v1_025_128"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="mobilenets")


@pytest.fixture(scope="module")
def variables():
    return made_up_variables(variable_shapes("mobilenet_v1", 0.25))


@pytest.fixture
def checkpoint(tmp_path, variables):
    prefix = tmp_path / "mobilenet_v1_0.25_128.ckpt"
    checkpoints.save_checkpoint(variables, prefix)
    return prefix


@pytest.fixture(scope="module")
def converted(tmp_path_factory, variables):
    """A converted model and its checkpoint, to verify."""
    folder = tmp_path_factory.mktemp("converted")
    prefix = folder / "mobilenet_v1_0.25_128.ckpt"
    checkpoints.save_checkpoint(variables, prefix)
    result = invoke("convert", prefix, "-o", folder / "model.keras")
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize(
    "arguments", [["--help"], ["convert", "--help"], ["verify", "--help"], ["list"], ["info", NAME]]
)
def test_light_commands_import_neither_tensorflow_nor_keras(arguments):
    code = (
        "import sys; from converters.cli import main\n"
        f"try: main({arguments!r}, prog_name='mobilenets')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules), sorted(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_help_names_every_command_in_a_whole_sentence():
    lines = invoke("--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in lines] == sorted(main.commands)
    assert all(line.endswith(".") and not line.endswith("..") for line in lines)


def test_list_names_every_model():
    table = invoke("list").stdout
    assert all(name in table for name in mobilenets.list_models())
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows] == mobilenets.list_models()
    assert len(json.loads(invoke("list", "--family", "mobilenet_v1", "--json").stdout)) == 16


@pytest.mark.parametrize("name", mobilenets.list_models())
def test_info_prints_the_known_facts(name):
    info = mobilenets.get_model_info(name)
    facts = json.loads(invoke("info", name, "--json").stdout)
    assert facts["checkpoint_url"] == info.checkpoint_url
    assert facts["num_features"] == info.num_features
    shown = invoke("info", f"{info.hub_handle or name}/classification/3").stdout
    top5 = f", top-5 {info.top5} %" if info.top5 else ""
    assert f"top-1 {info.top1} %{top5}" in shown and info.checkpoint_url in shown
    assert f"{info.macs:,}" in shown and f"{info.parameters:,}" in shown and "None" not in shown
    assert ("million" in shown) == (info.published_macs_millions is not None)


@pytest.mark.core
def test_convert_writes_model_and_manifest(checkpoint, tmp_path, variables):
    output = tmp_path / "model.keras"
    result = invoke("convert", checkpoint, "-o", output)
    assert result.exit_code == 0, result.output
    assert "mobilenet_v1, depth multiplier 0.25" in result.stdout
    model = converters.load_model(output)
    assert model.input_shape == (None, 128, 128, 3)
    assert all((array == variables[name]).all() for name, array in converters.slim_variables(model).items())
    manifest = json.loads(output.with_suffix(".manifest.json").read_text())
    assert manifest["source"]["files"].keys() == {f"{checkpoint.name}.index", f"{checkpoint.name}.data-00000-of-00001"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".keras", ".json", ".index", ".data-00000-of-00001"}


def test_convert_json(checkpoint, tmp_path):
    result = invoke("convert", checkpoint, "-o", tmp_path / "model.keras", "--json", "--image-size", "any")
    facts = json.loads(result.stdout)
    assert facts["configuration"]["input_shape"] == [None, None, 3]
    assert len(facts["variables"]) == 137


def test_existing_output_is_kept_without_force(checkpoint, tmp_path):
    output = tmp_path / "model.keras"
    output.write_bytes(b"mine")
    result = invoke("convert", checkpoint, "-o", output)
    assert (result.exit_code, output.read_bytes()) == (2, b"mine")
    assert "--force" in result.stderr
    assert invoke("convert", checkpoint, "-o", output, "--force").exit_code == 0
    converters.load_model(output)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["convert", "{folder}/none.ckpt", "-o", "{folder}/o.keras"], "none.ckpt"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.h5"], "must end in .keras"),
        (["convert", "{checkpoint}", "-o", "{folder}/none/o.keras"], "does not exist"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.keras", "--depth-multiplier", "0.5"], "not 0.5"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.keras", "--name", "mobilenet_v2_100_224"], "mobilenet_v2"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.keras", "--name", "mobilenet_v9"], "mobilenet_v9"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.keras", "--image-size", "big"], "is not a size"),
        (["convert", "{checkpoint}", "-o", "{folder}/o.keras", "--ema", "always"], "averages for 0 of 83"),
        (["verify", "{folder}/none.keras", "{checkpoint}"], "none.keras does not exist"),
        (["verify", "{folder}/model.h5", "{checkpoint}"], "model.h5 does not exist"),
        (["verify", "{checkpoint}", "{checkpoint}", "--report", "{folder}/r.html"], "for a .keras file"),
        (["verify", "{folder}/none.keras", "mobilenet_v1_025_127"], "none.keras does not exist"),
        (["convert", "mobilenet_v1_025_127", "-o", "{folder}/o.keras"], "closest are mobilenet_v1_025_"),
        (["info", "mobilenet_v9"], "mobilenet_v9"),
    ],
)
def test_unusable_input_is_one_sentence_and_status_2(arguments, sentence, checkpoint, tmp_path):
    before = sorted(tmp_path.iterdir())
    result = invoke(*(argument.format(folder=tmp_path, checkpoint=checkpoint) for argument in arguments))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert sorted(tmp_path.iterdir()) == before


def test_verify_against_the_checkpoint(converted):
    result = invoke("verify", converted / "model.keras", converted / "mobilenet_v1_0.25_128.ckpt")
    assert result.exit_code == 0
    assert "137 of 137 variables are equal bit for bit" in result.stdout


def test_verify_finds_a_changed_weight(converted, variables):
    name = "MobilenetV1/Conv2d_5_pointwise/weights"
    changed = variables | {name: np.nextafter(variables[name], np.float32(np.inf), dtype=np.float32)}
    checkpoints.save_checkpoint(changed, converted / "changed.ckpt")
    result = invoke("verify", converted / "model.keras", converted / "changed.ckpt")
    assert result.exit_code == 1
    assert "136 of 137" in result.stdout and name in result.stdout


def test_verify_against_a_frozen_graph(converted, variables):
    graph = converted / "frozen.pb"
    freeze(graph, "mobilenet_v1", variables, depth_multiplier=0.25, image_size=128)
    result = invoke("verify", converted / "model.keras", graph)
    assert result.exit_code == 0, result.output
    assert "MobilenetV1/Conv2d_13_pointwise" in result.stdout
    report = json.loads(invoke("verify", converted / "model.keras", graph, "--float64", "--json").stdout)
    assert report["passed"] and report["tolerance"] == 1e-12
    assert len(report["rows"]) == 30
    assert [row["top1_agreement"] for row in report["rows"] if row["name"] == "MobilenetV1/Logits"] == [1.0]


@pytest.mark.parametrize("takes", ["its own size", "any size"])
def test_verify_on_photographs_with_a_graph_that_is_not_square(takes, tmp_path, variables):
    """A folder stands for the images in it; their height and width are those that the model takes."""
    shape = (48, 80, 3) if takes == "its own size" else (None, None, 3)
    conversion = converters.conversion_of(variables, name=NAME, input_shape=shape)
    converters.save_model(conversion, tmp_path / "model [1].keras")
    size = (48, 80) if takes == "its own size" else (128, 128)
    freeze(tmp_path / "frozen.pb", "mobilenet_v1", variables, depth_multiplier=0.25, image_size=size)
    write_images(tmp_path / "images [/b]", 2)
    result = invoke(
        "verify", tmp_path / "model [1].keras", tmp_path / "frozen.pb", "--images", tmp_path / "images [/b]"
    )
    assert result.exit_code == 0, result.output
    assert "On 2 images of the caller" in result.stdout and "model [1].keras" in result.stdout


def test_verify_points_at_the_first_endpoint_beyond_the_tolerance(converted, variables):
    graph = converted / "shifted.pb"
    name = "MobilenetV1/Conv2d_7_depthwise/BatchNorm/beta"
    freeze(graph, "mobilenet_v1", variables | {name: variables[name] + 0.01}, depth_multiplier=0.25, image_size=128)
    result = invoke("verify", converted / "model.keras", graph)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "<- first" in line]
    assert "MobilenetV1/Conv2d_7_depthwise " in line
    report = json.loads(invoke("verify", converted / "model.keras", graph, "--json").stdout)
    assert report["first_failure"] == "MobilenetV1/Conv2d_7_depthwise"


def test_console_script_answers(tmp_path):
    """The installed program, in a process of its own."""
    program = pathlib.Path(sys.executable).with_name("mobilenets")
    result = subprocess.run(
        [program, "convert", tmp_path / "none.ckpt", "-o", tmp_path / "o.keras"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and "none.ckpt" in result.stderr
