"""Pipes, devices and endless files given as any input are refused at once, and odd names never break a command."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import checkpoints
import converters
import mobilenets
from converters.cli import main
from converters.commands import console
from converters.images import headers
from converters.images.image_paths import MAX_LINE, ImagePaths
from converters.images.labels import read_labels
from converters.images.pipeline import image_batches
from tests.oracle.recipes import made_up_variables

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
NOT_FILES = {"pipe": "it is a pipe", "device": "it is a device"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 10))
    conversion = converters.conversion_of(variables, input_shape=(32, 32, 3), head="classification")
    converters.save_model(conversion, folder / "net.keras", verify=False)
    keras.utils.save_img(folder / "photo.png", np.zeros((32, 32, 3)))
    (folder / "class" / "0").mkdir(parents=True)
    (folder / "class" / "0" / "photo.png").write_bytes((folder / "photo.png").read_bytes())
    return folder


def not_a_file(path, kind):
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return str(path)


# {input}: what is no file. The commands run in the folder of the fixture.
COMMANDS = {
    "graph": ("x.pb", "verify net.keras {input}"),
    "text graph": ("x.pbtxt", "convert {input} -o out.keras"),
    "manifest": ("x.json", "verify net.keras {input}"),
    "checkpoint": ("x.ckpt", "convert {input} -o out.keras"),
    "HDF5": ("x.h5", "convert {input} -o out.keras"),
    "safetensors": ("x.safetensors", "convert {input} -o out.keras"),
    "LiteRT": ("x.tflite", "convert {input} -o out.keras"),
    "archive": ("x.tgz", "convert {input} -o out.keras"),
    "model": ("x.keras", "info {input}"),
    "labels": ("x.txt", "predict net.keras photo.png --labels {input}"),
    "list": ("x.txt", "predict net.keras --list {input}"),
    "labels file": ("x.txt", "evaluate net.keras class --labels-file {input}"),
    "images": ("x.png", "verify net.keras net.keras --images {input}"),
    "adopted": ("x.tgz", "fetch --from {input}"),
}


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_refused_at_once(folder, tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    file, command = COMMANDS[name]
    path = not_a_file(tmp_path / file, kind)
    result = CliRunner().invoke(main, command.format(input=path).split(" "))
    assert result.exit_code == 2, result.output
    assert "Error: " in result.stderr and "unexpected" not in result.stderr
    assert not (folder / "out.keras").exists()


@pytest.mark.parametrize("kind", NOT_FILES)
def test_an_image_is_broken_and_the_others_are_read(folder, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(folder)
    path = not_a_file(tmp_path / "x.png", kind)
    batches = list(image_batches([path, "photo.png", "photo.png\0.png"], 32))
    assert [name for batch in batches for name in batch.paths] == ["photo.png"]
    pipe, zero = (entry.reason for batch in batches for entry in batch.broken)
    assert pipe == f"{path} is not read, because {NOT_FILES[kind]}; give a regular file."
    assert zero == "photo.png\0.png cannot be read: a path has no zero byte."
    result = CliRunner().invoke(main, ["predict", "net.keras", path, "photo.png"])
    assert result.exit_code == 1 and NOT_FILES[kind] in result.stderr


def test_an_image_of_gigabytes(tmp_path, monkeypatch):
    path = tmp_path / "sparse.png"
    with open(path, "wb") as stream:
        stream.truncate(3 * 2**30)
    (batch,) = image_batches([str(path)], 32)
    assert batch.broken[0].reason == f"{path} is too large: 3,221,225,472 bytes. At most 1,200,000,000 are read."
    assert headers.MAX_FILE_BYTES == 1_200_000_000


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize(
    "read",
    [checkpoints.load_variables, checkpoints.sha256, converters.read_manifest, read_labels, checkpoints.read_json],
)
def test_every_reader(tmp_path, read, kind):
    path = not_a_file(tmp_path / "x", kind)
    with pytest.raises(ValueError, match=f"x is not read, because {NOT_FILES[kind]}; give a regular file"):
        read(path)


def test_what_is_too_large(tmp_path):
    path = tmp_path / "x.txt"
    with open(path, "wb") as stream:
        stream.truncate(2**30)
    with pytest.raises(ValueError, match="has more than 16,777,216 bytes"):
        read_labels(path)
    with pytest.raises(ValueError, match="has more than 16,777,216 bytes"):
        converters.read_manifest(path)
    with pytest.raises(ValueError, match=f"a line in it has {MAX_LINE} characters or more"):
        list(ImagePaths(lists=[path]))


MORE = ["a[red]b", "esc\x1b[31m", "new\nline", "bidi\u202e", os.fsdecode(b"bytes\xff"), "n" * 240, "-rf"]
ODD = ["mk[/b]\x1b[31mx", *MORE]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_odd_names(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(f"{name}.keras").write_bytes((folder / "net.keras").read_bytes())
    pathlib.Path(f"{name}.png").write_bytes((folder / "photo.png").read_bytes())
    for arguments in (
        ["info", "--", f"{name}.keras"],
        ["predict", "--", f"{name}.keras", f"{name}.png"],
        ["verify", "--", f"{name}.keras", f"{name}.no"],
        ["convert", "-o", f"{name}.keras", "--", f"{name}.no"],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == (0 if arguments[0] in ("info", "predict") else 2), result.output
        assert "unexpected" not in result.output
        assert all(character.isprintable() or character in "\n\t" for character in result.output)


@pytest.mark.parametrize("error", [KeyError("shape"), RecursionError("deep"), TypeError("\x1b[31m"), MemoryError()])
def test_no_error_is_a_traceback(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(mobilenets, "get_model_info", fail)
    result = CliRunner().invoke(main, ["info", "mobilenet_v1_025_128"])
    assert result.exit_code == 2 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr and "Traceback" not in result.output
    if not isinstance(error, MemoryError):
        assert type(error).__name__ in result.stderr and console.TRACEBACK_VARIABLE in result.stderr
        monkeypatch.setenv(console.TRACEBACK_VARIABLE, "1")
        assert CliRunner().invoke(main, ["info", "mobilenet_v1_025_128"]).exception is error


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, streams):
    program = "import sys; from converters.cli import main; main(['list'])"
    command = f'{sys.executable} -c "{program}" {streams}'
    assert (
        subprocess.run(["/bin/sh", "-c", command], cwd=pathlib.Path(__file__).parents[1], check=False).returncode == 0
    )


def test_json_of_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (tmp_path / "none.txt").write_text("")
    result = CliRunner().invoke(main, ["predict", "net.keras", "--list", str(tmp_path / "none.txt"), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout) == []


def test_what_counts_as_a_file(tmp_path):
    checkpoints.check_regular(tmp_path)
    checkpoints.check_regular(tmp_path / "missing")
    checkpoints.check_regular("a\0b")
    (tmp_path / "file").touch()
    assert stat.S_ISREG(os.stat(tmp_path / "file").st_mode)
    checkpoints.check_regular(tmp_path / "file")
