"""The conventions of all commands: widths, help texts, outputs, errors for programs, and how they end."""

import io
import json
import os
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import mobilenets
from converters.cli import main
from converters.commands import console
from converters.text import facts_text
from tests.documents import ROOT
from tests.oracle.recipes import made_up_variables

NAME = "mobilenet_v1_025_128"


def invoke(*arguments, **variables):
    return CliRunner().invoke(main, list(map(str, arguments)), prog_name="mobilenets", env=variables)


def commands(group=main, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())


def start(*arguments, **choices):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mobilenets", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, **choices)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_has_a_help_text_and_its_default(path):
    for option in ALL[path].params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            shown = option.required or option.is_flag or option.show_default or "[" in option.help
            assert shown, f"{option.name} does not say what happens without it"


@pytest.mark.parametrize("path", [path for path in ALL if path[0] in ("convert", "export", "embed", "verify", "info")])
def test_the_output_is_named_in_the_same_way(path):
    assert any({"-o", "--output"} <= {*option.opts} for option in ALL[path].params)


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize("arguments", [["list"], ["info", NAME], ["info", "mobilenet_v3_large_minimalistic_100_224"]])
def test_output_fits_the_terminal(arguments, columns):
    lines = invoke(*arguments, COLUMNS=str(columns)).stdout.splitlines()
    assert len(lines) > 10 and max(map(len, lines)) <= columns
    assert all(line == line.rstrip() for line in lines)
    if arguments == ["list"]:
        assert [line.split()[0] for line in lines[1:] if "_v" in line] == mobilenets.list_models()
        assert ("top-5 %" in lines[0]) == (columns >= 100) and ("multiplier" in lines[0]) == (columns > 110)


def test_facts_as_text():
    facts = {"a_name": "one two three four", "path": "/a/very/long/path/without/spaces", "count": 1234, "empty": ""}
    assert facts_text(facts, 20).splitlines() == [
        "a name  one two",
        "        three four",
        "path",
        "  /a/very/long/path/",
        "  without/spaces",
        "count   1,234",
        "empty",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "none.ckpt", "-o", "x.keras"],
        ["convert", "mobilenet_v2_036_96", "-o", "x.keras"],
        ["predict", "none.keras", "photo.jpg"],
        ["verify", "none.keras", "none.ckpt"],
        ["embed", "none.keras", "photo.jpg", "-o", "x.npz"],
        ["export", "none.keras", "-o", "x.tflite"],
        ["info", "none.ckpt"],
        ["info", "none.keras"],
    ],
)
def test_a_wrong_path_is_one_sentence(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2 and not result.stdout
    assert "does not exist" in result.stderr and arguments[1] in result.stderr
    error = json.loads(invoke(*arguments, "--json").stdout)
    assert error["exit_status"] == 2 and arguments[1] in error["error"]


MISTAKES = {  # in a folder with the files model.keras and a.png, without the packages of the extras
    "convert none.ckpt -o x.keras": "none.ckpt does not exist",
    "predict none.keras a.png": "none.keras does not exist",
    "verify none.keras none.ckpt": "none.keras does not exist",
    "export none.keras -o x.tflite": "none.keras does not exist",
    "export model.keras -o x.onnx": "pip install 'mobilenets[onnx]'",
    "info none.keras": "none.keras does not exist",
    f"info {NAME} --plot x.gif": "must end in .png",
    f"info {NAME} --plot x.png": "pip install 'mobilenets[plots]'",
    "embed none.keras a.png -o x.npz": "none.keras does not exist",
    "embed model.keras a.png -o x.csv": "must end in .parquet or .npz",
    "embed model.keras a.png -o x.parquet": "pip install 'mobilenets[embed]'",
    "embed model.keras a.png -o none/x.npz": "The folder none of the output x.npz does not exist",
}
WITHOUT_KERAS = """
import importlib.util, json, sys
from click.testing import CliRunner
from converters.cli import main

find, missing = importlib.util.find_spec, {"matplotlib", "onnx", "tf2onnx", "pyarrow"}
importlib.util.find_spec = lambda name, package=None: None if name in missing else find(name, package)
for line in json.load(sys.stdin):
    result = CliRunner().invoke(main, line.split(), prog_name="mobilenets")
    print(json.dumps([line, result.exit_code, result.stderr, "keras" in sys.modules or "tensorflow" in sys.modules]))
"""


def test_mistakes_are_noticed_before_keras_and_tensorflow_are_loaded(tmp_path):
    for name in ("model.keras", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS],
        input=json.dumps(list(MISTAKES)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == list(MISTAKES), result.stderr
    for line, status, message, loaded in rows:
        assert status == 2 and MISTAKES[line] in message and not loaded, (line, message, loaded)


def test_usage_errors_as_json():
    result = invoke("predict", "--json")
    assert result.exit_code == 2 and "Missing argument" in json.loads(result.stdout)["error"]


def test_the_format_follows_from_the_suffix(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"x")
    result = invoke("export", tmp_path / "model.keras", "-o", tmp_path / "folder")
    assert result.exit_code == 2 and "give --format: savedmodel, litert" in result.stderr
    result = invoke("export", tmp_path / "model.keras", tmp_path / "a.onnx", "-o", tmp_path / "b.onnx")
    assert result.exit_code == 2 and "once: -o OUTPUT" in result.stderr
    result = invoke("export", tmp_path / "model.keras", tmp_path / "folder")
    assert "the old form" in result.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a trainer: averages, slots and the number of steps."""
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 5))
    trained = {name: array for name, array in variables.items() if "moving_" not in name}
    variables |= {f"{name}/ExponentialMovingAverage": array for name, array in trained.items()}
    variables |= {f"{name}/{slot}": array for name, array in trained.items() for slot in ("RMSProp", "RMSProp_1")}
    prefix = tmp_path_factory.mktemp("trainer") / "model.ckpt-90"
    checkpoints.save_checkpoint(variables | {"global_step": np.int64(90)}, prefix)
    return prefix


def test_info_of_a_checkpoint(checkpoint):
    facts = json.loads(invoke("info", checkpoint, "--json").stdout)
    expected = {"network": "mobilenet_v1", "depth_multiplier": 0.25, "classes": 5, "steps": 90, "averages": 83}
    assert {name: facts[name] for name in expected} == expected
    assert facts["optimizer"] == ["RMSProp"] and facts["variables"] == 137
    assert [file["sha256"] for file in facts["files"]] == [
        checkpoints.sha256(f"{checkpoint}{suffix}") for suffix in (".index", ".data-00000-of-00001")
    ]
    shown = invoke("info", checkpoint, COLUMNS="80").stdout
    assert "5 classes" in shown and "RMSProp" in shown and max(map(len, shown.splitlines())) <= 80


def test_info_of_a_published_archive(tmp_path, monkeypatch):
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25))
    checkpoints.save_hdf5(variables, tmp_path / "mine.h5")
    row = checkpoints.archives.REGISTRY[NAME][0]._replace(sha256=checkpoints.sha256(tmp_path / "mine.h5"))
    monkeypatch.setitem(checkpoints.archives.REGISTRY, NAME, (row,))
    (file,) = json.loads(invoke("info", tmp_path / "mine.h5", "--json").stdout)["files"]
    assert file["published_as"] == f"mobilenet_v1_0.25_128.tgz of {NAME}"


def test_a_path_goes_before_a_published_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints.save_hdf5(made_up_variables(mobilenets.variable_shapes("mobilenet_v2", 0.35)), NAME)
    assert json.loads(invoke("info", NAME, "--json").stdout)["network"] == "mobilenet_v2"


def test_no_picture_of_a_checkpoint(checkpoint):
    result = invoke("info", checkpoint, "--plot", "x.png")
    assert result.exit_code == 2 and "convert SOURCE first" in result.stderr


def test_a_broken_pipe_is_silent():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed, start("list", stdout=closed) as process:
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 1


def test_an_interrupt_ends_with_130(tmp_path):
    """While a download waits."""
    program = (
        "import signal; from converters.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it\n"
        "import converters.commands.fetch as fetch\n"
        "fetch.checkpoints.fetched = lambda *a, **k: signal.raise_signal(signal.SIGINT)\n"
        "main(['fetch', 'mobilenet_v1_025_128'], prog_name='mobilenets')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MOBILENETS_CACHE": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize("path", [path for path in ALL if path[0] not in ("list", "export")], ids=" ".join)
def test_the_cache_can_be_set_where_something_may_be_fetched(path):
    assert any("--cache" in option.opts for option in ALL[path].params)


def test_the_folder_of_the_cache_is_used_for_this_command_only(tmp_path, monkeypatch):
    monkeypatch.delenv("MOBILENETS_CACHE", raising=False)
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    result = invoke("convert", NAME, "-o", tmp_path / "x.keras", "--cache", tmp_path / "mine")
    assert result.exit_code == 2 and str(tmp_path / "mine") in result.stderr
    assert "MOBILENETS_CACHE" not in os.environ


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_color", "colour"), [("", "\x1b[32m\x1b[1mPASSED\x1b[0m: right"), ("1", "PASSED: right")])
def test_the_verdict_is_in_colour_on_a_terminal(monkeypatch, no_color, colour):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout", stream := Terminal())
    console.echo("PASSED: right\nnothing FAILED: in a line")
    assert stream.getvalue().splitlines() == [colour, "nothing FAILED: in a line"]


@pytest.mark.parametrize("file_name", ["mobilenet_v1_0.25_128.h5", "my_mobilenet_v1_0.25_128_run3.h5", "model.h5"])
def test_info_names_the_published_model_that_convert_takes(file_name, tmp_path):
    checkpoints.save_hdf5(made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25)), tmp_path / file_name)
    expected = NAME if "mobilenet" in file_name else None
    assert json.loads(invoke("info", tmp_path / file_name, "--json").stdout)["published_model"] == expected


def test_info_names_no_published_model_of_another_multiplier(tmp_path):
    path = tmp_path / "mobilenet_v1_0.5_128.h5"
    checkpoints.save_hdf5(made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25)), path)
    assert json.loads(invoke("info", path, "--json").stdout)["published_model"] is None


def completed(words, word=""):
    """The kinds and words that a shell is given, as click's own script asks for them."""
    environment = {"_MOBILENETS_COMPLETE": "bash_complete", "COMP_WORDS": f"mobilenets {words} {word}"}
    environment["COMP_CWORD"] = str(len(words.split()) + 1)
    result = CliRunner().invoke(main, [], prog_name="mobilenets", env=environment)
    return result.stdout.split()


@pytest.mark.parametrize("words", ["convert", "info", "predict", "embed", "evaluate", "verify model.keras"])
def test_paths_and_names_of_models_complete(words):
    names = [f"plain,{name}" for name in mobilenets.list_models() if name.startswith("mobilenet_v1_025")]
    assert completed(words, "mobilenet_v1_025") == ["file,mobilenet_v1_025", *names]


@pytest.mark.parametrize("words", ["fetch", "fetch inception_v2", "cache remove", "convert x.ckpt --name"])
def test_names_of_models_complete(words):
    assert completed(words, "inception") == ["plain,inception_v2"]


@pytest.mark.parametrize("words", ["verify", "export", "predict model.keras"])
def test_paths_complete(words):
    assert completed(words, "mo") == ["file,mo"]
