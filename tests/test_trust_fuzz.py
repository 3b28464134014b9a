"""Damaged files of every format give the right variables or a clear error: no crash, no hang, no wrong value unsaid."""

import collections
import gzip
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import checkpoints
import converters
import mobilenets
from checkpoints import hdf5_process
from tests.mutants import MUTATORS
from tests.oracle.recipes import made_up_variables

ROOT = pathlib.Path(__file__).parents[1]
MEGABYTES = 200  # that all mutants together may need; the files are far smaller than one


def small(seed):
    """Few values, so that most of a file is what describes them."""
    random = np.random.default_rng(seed)
    return {
        "MobilenetV1/Conv2d_0/weights": random.normal(size=(3, 3, 3, 2)).astype(np.float32),
        "MobilenetV1/Conv2d_0/BatchNorm/gamma": random.normal(size=2).astype(np.float32),
        "MobilenetV1/Conv2d_1_depthwise/depthwise_weights": random.normal(size=(3, 3, 2, 1)),
        "MobilenetV1/Logits/Conv2d_1c_1x1/biases": np.zeros(5, np.float32),
        "global_step": np.int64(random.integers(1, 10**6)),
    }


def network(seed):
    """A whole network: more than one block of a checkpoint's table."""
    return made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 10), seed)


def write_graph(variables, path):
    """The constants and their reads, as freezing leaves them."""
    with tf.Graph().as_default() as graph:
        for name, value in variables.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
    path.write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))


def write_plain_hdf5(variables, path):
    with h5py.File(path, "w") as file:
        for index, (name, value) in enumerate(variables.items()):
            file.create_dataset(name, data=value, **({"compression": "gzip"} if index % 2 and value.ndim else {}))


def write_plain_safetensors(variables, path):
    safetensors.numpy.save_file({name: np.asarray(value) for name, value in variables.items()}, path)


def write_safetensors(variables, path):
    """Their metadata in a fixed order, so that the mutants are the same in each run: the format's library has none."""
    checkpoints.save_safetensors(variables, path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    path.write_bytes(data[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + data[end:])


def in_archive(write, name):
    """A function that writes an archive of all files that ``write`` makes."""

    def write_archive(variables, path):
        inside = path.with_suffix("")
        inside.mkdir()
        write(variables, inside / name)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in sorted(inside.iterdir()):
                member = tarfile.TarInfo(file.name)  # without the time, so that the mutants are the same in each run
                member.size = file.stat().st_size
                archive.addfile(member, io.BytesIO(file.read_bytes()))
        path.write_bytes(gzip.compress(packed.getvalue(), mtime=0) if path.suffix == ".tgz" else packed.getvalue())
        shutil.rmtree(inside)

    return write_archive


def v1(variables, path):
    checkpoints.save_checkpoint(variables, path, version=1)


class Format(NamedTuple):
    """How a file is written, which of its files is damaged, what is opened, and whether it has checksums."""

    write: Callable
    file: str
    path: str
    checked: bool = True


FORMATS = {
    "checkpoint V1": Format(v1, "net.ckpt", "net.ckpt"),
    "checkpoint V2, index": Format(checkpoints.save_checkpoint, "net.ckpt.index", "net.ckpt"),
    "checkpoint V2, data": Format(checkpoints.save_checkpoint, "net.ckpt.data-00000-of-00001", "net.ckpt"),
    "HDF5": Format(checkpoints.save_hdf5, "net.h5", "net.h5"),
    "HDF5 from elsewhere": Format(write_plain_hdf5, "net.h5", "net.h5", checked=False),
    "safetensors": Format(write_safetensors, "net.safetensors", "net.safetensors"),
    "safetensors from elsewhere": Format(write_plain_safetensors, "net.safetensors", "net.safetensors", checked=False),
    "frozen graph": Format(write_graph, "net.pb", "net.pb", checked=False),
    "tgz, V2 in it": Format(in_archive(checkpoints.save_checkpoint, "net.ckpt"), "net.tgz", "net.tgz"),
    "tgz, a graph in it": Format(in_archive(write_graph, "net.pb"), "net.tgz", "net.tgz"),
    "tar, V2 in it": Format(in_archive(checkpoints.save_checkpoint, "net.ckpt"), "net.tar", "net.tar"),
    "tar, V1 in it": Format(in_archive(v1, "net.ckpt"), "net.tar", "net.tar"),
}
ALL = {small: 17, network: 3}  # mutants of each mutator
FEW = {small: 4, network: 1}  # of HDF5, where each file starts a process
RUNS = [
    *((name, FEW if name.startswith("HDF5") else ALL) for name in FORMATS),
    *((name, ALL) for name in FORMATS if name.startswith("HDF5")),  # the process is forked
]


def count(each):
    return len(MUTATORS) * sum(each.values())


def test_there_are_enough_of_them():
    assert len(FORMATS) * count(ALL) >= 2000


def read_mutants(folder, kind, each):
    """Reads the mutants of a format in another process; returns its lines about each, and about its memory."""
    subjects = []
    for make, number in each.items():
        for seed, role in enumerate(("right", "donor")):
            target = folder / make.__name__ / role / kind.path
            target.parent.mkdir(parents=True)
            kind.write(make(seed), target)
        subjects.append([str(folder / make.__name__), kind.file, kind.path, number])
    command = [sys.executable, "-m", "tests.mutants", json.dumps(subjects), "forked" if each is ALL else "started"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, f"the process died of {lines[-1:]}:\n{ended.stderr[-3000:]}"
    return lines[:-1], lines[-1]


@pytest.mark.parametrize(("name", "each"), RUNS)
def test_damage_is_detected_or_harmless(tmp_path, name, each):
    kind = FORMATS[name]
    lines, end = read_mutants(tmp_path, kind, each)
    results = [mutant | outcome for mutant, outcome in zip(lines[::2], lines[1::2], strict=True)]
    assert len(results) == count(each)
    assert not [result for result in results if result["outcome"] == "WRONG"]
    counts = collections.Counter(result["outcome"] for result in results)
    assert counts["refused"] > count(each) / 10
    assert not (kind.checked and counts["unchecked"])
    assert end["megabytes"] < MEGABYTES
    print(f"\n{name}: {dict(counts)}, slowest {max(result['seconds'] for result in results):.2f} s, {end}")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_tells_whether_it_is_checked(tmp_path, name):
    kind = FORMATS[name]
    kind.write(small(0), tmp_path / kind.path)
    with checkpoints.open_variables(tmp_path / kind.path) as variables:
        assert variables.checked == kind.checked


@pytest.mark.parametrize(("write", "noted"), [(write_plain_hdf5, 1), (checkpoints.save_hdf5, 0)])
def test_a_conversion_says_that_nothing_checks_its_source(tmp_path, write, noted):
    path = tmp_path / "net.h5"
    write(network(0), path)
    notes = converters.conversion_of(path).notes
    assert len(notes) == noted
    assert all("has no checksums" in note and checkpoints.sha256(path) in note for note in notes)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("interpreter", "message"),
    [
        ("kill -SEGV $$", "net.h5 is damaged: the HDF5 library crashes when it reads the file"),
        ("exec sleep 60", "net.h5 is damaged: the HDF5 library hangs when it reads the file"),
        ("echo 'ImportError: no h5py.' >&2; exit 1", r"net.h5 cannot be read: .* failed \(ImportError: no h5py\)"),
        (None, r"net.h5 cannot be read: .* failed \(.*No such file or directory"),
    ],
    ids=["crash", "hang", "failed import", "no interpreter"],
)
def test_the_process_that_reads_an_hdf5_file_fails(tmp_path, monkeypatch, interpreter, message):
    checkpoints.save_hdf5(small(0), tmp_path / "net.h5")
    script = tmp_path / "python"
    if interpreter:
        script.write_text(f"#!/bin/sh\n{interpreter}\n")
        script.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(script))
        patch.setattr(hdf5_process, "SECONDS", 1.0)
        with pytest.raises(checkpoints.CheckpointError, match=message):
            checkpoints.load_variables(tmp_path / "net.h5")
    assert len(checkpoints.load_variables(tmp_path / "net.h5")) == len(small(0))


def test_an_hdf5_file_is_read_in_any_current_folder(tmp_path, monkeypatch):
    """The other process imports the same packages as this one, and none from the current folder."""
    checkpoints.save_hdf5(small(0), tmp_path / "net.h5")
    (tmp_path / "h5py.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert len(checkpoints.load_variables("net.h5")) == len(small(0))
