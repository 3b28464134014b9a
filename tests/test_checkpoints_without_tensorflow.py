"""No format needs TensorFlow: a process that cannot import it reads and writes all."""

import json
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow as tf

import checkpoints

ROOT = pathlib.Path(__file__).parents[1]
VARIABLES = {
    "net/Conv/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "net/step": np.array(7, np.int64),
}
PROGRAM = """
import json, sys

class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "keras", "google.protobuf", "tf_keras"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocker())
import checkpoints

for path, written in json.loads(sys.argv[1]):
    with checkpoints.open_variables(path) as variables:
        for version, suffix in ((1, ".v1"), (2, ".v2")):
            checkpoints.save_checkpoint(variables, written + suffix, version)
        checkpoints.save_hdf5(variables, written + ".h5")
        for suffix in (".v1", ".v2", ".h5"):
            again = checkpoints.load_variables(written + suffix)
            assert all((again[name] == variables[name]).all() for name in variables), path
        print(json.dumps([variables.format, list(variables)]), flush=True)
assert not {"tensorflow", "keras", "google.protobuf"} & set(sys.modules)
"""


class Module(tf.Module):
    """A module of images with the list of its variables that TF-Hub expects."""

    def __init__(self):
        self.variables_ = [tf.Variable(value, name=name) for name, value in VARIABLES.items()]

    @tf.function(input_signature=[tf.TensorSpec((None, 96, 96, 3))])
    def __call__(self, images):
        return tf.nn.conv2d(images, self.variables_[0], 1, "SAME")


def write_module(path):
    module = Module()
    model = tf.train.Checkpoint()
    model.variables = module.variables_
    model.__call__ = module.__call__
    tf.saved_model.save(model, str(path))
    return path


def write_graph(path):
    with tf.Graph().as_default() as graph:
        for name, value in VARIABLES.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def write_state(path):
    path.mkdir()
    for step in ("1", "2"):
        write_v2(path / f"x-{step}")
    tf.compat.v1.train.update_checkpoint_state(str(path), "x-1")
    return path


def write_archive(path):
    write_v2(path.parent / "in the archive")
    with tarfile.open(path, "w:gz") as archive:
        for suffix in ("index", "data-00000-of-00001"):
            archive.add(path.parent / f"in the archive.{suffix}", f"x.ckpt.{suffix}")
    return path


def write_v1(path):
    tensors = [tf.constant(value) for value in VARIABLES.values()]
    tf.raw_ops.Save(filename=str(path), tensor_names=list(VARIABLES), data=tensors)
    return path


def write_v2(path):
    tensors = [tf.constant(value) for value in VARIABLES.values()]
    names = list(VARIABLES)
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return path


FORMATS = {
    "v1": (write_v1, "tensorflow checkpoint v1"),
    "v2": (write_v2, "tensorflow checkpoint v2"),
    "x.pb": (write_graph, "frozen graph"),
    "x.tgz": (write_archive, "tensorflow checkpoint v2"),
    "folder": (write_state, "tensorflow checkpoint v2"),
    "module": (write_module, "hub module (TF2 SavedModel)"),
    "x.h5": (lambda path: checkpoints.save_hdf5(VARIABLES, path) or path, "hdf5"),
}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What the process read of each format."""
    folder = tmp_path_factory.mktemp("formats")
    paths = [(str(write(folder / name)), str(folder / f"{name} written")) for name, (write, _) in FORMATS.items()]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(paths)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    for _, written in paths:
        for suffix in (".v1", ".v2"):
            reader = tf.train.load_checkpoint(written + suffix)
            for name, value in VARIABLES.items():
                np.testing.assert_array_equal(reader.get_tensor(name), value, strict=False)
    return dict(zip(FORMATS, map(json.loads, ended.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_read_and_written(lines, name):
    assert lines[name] == [FORMATS[name][1], sorted(VARIABLES)]
