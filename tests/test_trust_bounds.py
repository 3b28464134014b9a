"""What a file takes in memory, on the disk and in time is bounded by its own size, and commands do not grow."""

import gzip
import io
import json
import pathlib
import resource
import subprocess
import sys
import tarfile
import time
import zipfile

import h5py
import numpy as np
import pytest

import checkpoints
import converters
import mobilenets
from checkpoints import hdf5, trial
from checkpoints.inputs import EXTRA_BYTES, allowance
from converters.graphs.nodes import by_name, read_graph
from converters.keras_archive import check_archive
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables

ROOT = pathlib.Path(__file__).parents[1]


def test_the_limit():
    assert allowance(1000) == 16 * 1000 + 64 * 2**20


def hdf5_bomb(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(EXTRA_BYTES // 2, np.float32), chunks=(2**20,), compression="gzip")


def safetensors_bomb(path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**28], "data_offsets": [0, 2**30]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))


def archive_bomb(path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("net.ckpt.data-00000-of-00001")
        member.size = EXTRA_BYTES * 2
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    path.write_bytes(gzip.compress(content.getvalue(), 1))


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.ckpt.data-00000-of-00001", bytes(EXTRA_BYTES * 2))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.h5", hdf5_bomb, "the limit for a file of"),
        ("x.safetensors", safetensors_bomb, "damaged or cut short"),
        ("x.tgz", archive_bomb, "unpacks to more than"),
        ("x.zip", zip_bomb, "unpacks to more than"),
    ],
)
def test_a_file_that_expands(tmp_path, name, write, message):
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 2**20
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.load_variables(tmp_path / name)


def test_an_hdf5_file_of_many_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_OBJECTS", 50)
    monkeypatch.setattr(trial, "SECONDS", 5.0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(51):
            file[f"v{number}"] = np.zeros(2, np.float32)
    with pytest.raises(checkpoints.CheckpointError, match="more than 50 groups and datasets"):
        checkpoints.load_variables(tmp_path / "x.h5")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with ``net.keras``, its checkpoint ``net.ckpt`` and the frozen graph ``net.pb``."""
    folder = tmp_path_factory.mktemp("bounds")
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25))
    checkpoints.save_checkpoint(variables, folder / "net.ckpt")
    conversion = converters.conversion_of(folder / "net.ckpt", input_shape=(64, 64, 3))
    converters.save_model(conversion, folder / "net.keras", verify=False)
    return folder


def changed(saved, path, **members):
    with zipfile.ZipFile(saved / "net.keras") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, members.get(name, source.read(name)))
        for name in members.keys() - set(source.namelist()):
            target.writestr(name, members[name])
    return path


def test_a_keras_file_that_expands(saved, tmp_path):
    path = changed(saved, tmp_path / "x.keras", **{"assets/x": bytes(3 * EXTRA_BYTES)})
    with pytest.raises(converters.ConversionError, match="unpacks to more than"):
        converters.load_model(path)


def test_a_keras_file_of_many_layers(saved, tmp_path):
    with zipfile.ZipFile(saved / "net.keras") as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"] *= 100
    path = changed(saved, tmp_path / "x.keras", **{"config.json": json.dumps(config)})
    start = time.process_time()
    with pytest.raises(converters.ConversionError, match=r"has \d+ layers, more than 5000"):
        converters.load_model(path)
    assert time.process_time() - start < 5
    check_archive(saved / "net.keras")


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "\xff"])
def test_a_keras_file_of_no_json(saved, tmp_path, content):
    path = changed(saved, tmp_path / "x.keras", **{"config.json": content})
    with pytest.raises(converters.ConversionError, match="cannot be opened as a Keras model"):
        converters.load_model(path)


GROWTH = """
import gc, pathlib, sys
import converters
folder, times = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def now():
    gc.collect()
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
def work():
    model = converters.convert(folder / "net.ckpt", input_shape=(64, 64, 3))
    converters.verify(model, folder / "net.ckpt")
    converters.verify(model, folder / "net.pb")
for number in range(times):
    work()
    if number == 19:
        before = now()
print(now() - before)
"""


@pytest.mark.long
def test_convert_and_verify_stay_level(saved):
    """Measured after 20 times, and again after 200."""
    variables = checkpoints.load_variables(saved / "net.ckpt")
    freeze(saved / "net.pb", "mobilenet_v1", variables, depth_multiplier=0.25, image_size=64)
    command = [sys.executable, "-c", GROWTH, str(saved), "200"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert float(ended.stdout) < 40
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 * 2**20  # KiB


@pytest.mark.long
def test_a_graph_of_many_nodes(saved, tmp_path):
    """Beside the network, which needs none of them; and more than any file may have."""
    path = tmp_path / "x.pb"
    variables = checkpoints.load_variables(saved / "net.ckpt")
    freeze(path, "mobilenet_v1", variables, depth_multiplier=0.25, image_size=64)
    nodes = b"".join(b"\x0a%b" % _node(f"n{number}") for number in range(300_000))
    path.write_bytes(path.read_bytes() + nodes)
    start = time.process_time()
    assert len(nodes_by_name(path)) > 300_000
    assert time.process_time() - start < 5


def nodes_by_name(path):
    return by_name(read_graph(path), path)


def _node(name):
    content = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12\x04NoOp"
    return bytes([len(content)]) + content
