"""Small files that claim to be huge are refused in little memory and little time."""

import gzip
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import checkpoints
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes
from tests.test_checkpoints_sstable import HEADER, block, entry, proto_shape, table, v1, varint

ROOT = pathlib.Path(__file__).parents[1]
MEGABYTES = 100
SECONDS = 20  # generous: the machine may be busy, and each takes less than one

READ = """
import json, sys, time
import checkpoints
from tests.process_memory import peak
checkpoints.load_variables(sys.argv[1])  # what is imported counts for nothing
for path in sys.argv[2:]:
    before, start, message = peak(), time.monotonic(), None
    try:
        checkpoints.load_variables(path)
    except checkpoints.CheckpointError as error:
        message = str(error)
    print(json.dumps({"message": message, "megabytes": peak() - before, "seconds": time.monotonic() - start}))
"""


class Endless(io.RawIOBase):
    """Zeros without an end, for `tarfile` to read so many of."""

    def readable(self):
        return True

    def read(self, size=-1):
        return bytes(size)


def tar_bomb(path):
    member = tarfile.TarInfo("net.ckpt.data-00000-of-00001")
    member.size = 5 * 2**30
    with gzip.open(path, "wb", compresslevel=1) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.addfile(member, Endless())


def tar_header(path, **fields):
    member = tarfile.TarInfo("net.ckpt")
    for field, value in fields.items():
        setattr(member, field, value)
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def huge_dataset(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", shape=(2**20, 2**20), dtype="f4", **options)


def huge_v2(path, shape):
    path.with_name("x.data-00000-of-00001").write_bytes(bytes(8))
    entries = [(b"", HEADER.SerializeToString()), (b"a", entry(shape=shape))]
    path.write_bytes(table(block(entries)))


def huge_constant(path):
    """A constant of one value, which stands for 2**40."""
    with tf.Graph().as_default() as graph:
        tf.identity(tf.constant([1.0], name="a"))
    tensor = graph.as_graph_def()
    tensor.node[0].attr["value"].tensor.tensor_shape.dim[0].size = 2**40
    path.write_bytes(tensor.SerializeToString())


def saved_model(path):
    """A `.pb` of another kind."""
    tf.saved_model.save(tf.train.Checkpoint(a=tf.Variable(1.0)), str(path.parent / "saved"))
    path.write_bytes((path.parent / "saved" / "saved_model.pb").read_bytes())


HUGE_BLOCK = table(block([]), index=block([(b"a", varint(0) + varint(2**40))]))
# What is opened, what writes it, and what the error says.
HOSTILE = {
    "a tar header that claims terabytes": ("x.tar", lambda path: tar_header(path, size=2**43), "damaged|refused"),
    "a sparse member": (
        "x.tar",
        lambda path: tar_header(path, size=512, type=tarfile.GNUTYPE_SPARSE),
        "refused|damaged",
    ),
    "a long name of terabytes": (
        "x.tar",
        lambda path: tar_header(path, size=2**43, type=tarfile.GNUTYPE_LONGNAME),
        "name of a member has",
    ),
    "a chunked dataset without chunks": ("x.h5", lambda path: huge_dataset(path, chunks=(64, 64)), "claims"),
    "a chunk of terabytes": (
        "x.h5",
        lambda path: huge_dataset(path, chunks=(2**14, 2**14), compression="gzip"),
        "claims",
    ),
    "a dataset that is not written": ("x.h5", huge_dataset, "claims"),
    "a V2 tensor of terabytes": ("x.index", lambda path: huge_v2(path, proto_shape(2**20, 2**20)), "does not fit"),
    "a V2 shape that overflows": ("x.index", lambda path: huge_v2(path, proto_shape(2**62, 2**62)), "does not fit"),
    "a V1 tensor of terabytes": (
        "x",
        lambda path: path.write_bytes(table(block([(b"", v1(shape=proto_shape(2**40)))]))),
        "does not fit a file",
    ),
    "a V1 block of terabytes": ("x", lambda path: path.write_bytes(HUGE_BLOCK), "is inconsistent"),
    "a constant of terabytes": ("x.pb", huge_constant, "is refused: its variables"),
    "a SavedModel": ("x.pb", saved_model, "holds no variables|not a frozen graph"),
    "a pickle": ("x.pb", lambda path: path.write_bytes(b"\x80\x04\x95" + bytes(90)), "not a frozen graph"),
}


def read(folder, paths):
    """Read files in a process of its own, whose peak of memory is its own: a result for each."""
    checkpoints.save_checkpoint({"a": np.zeros(3, np.float32)}, folder / "harmless")
    command = [sys.executable, "-c", READ, str(folder / "harmless"), *map(str, paths)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def assert_refused(result, path, message):
    assert result["message"] is not None and str(path.with_suffix("")) in result["message"]
    assert "\n" not in result["message"] and result["message"].endswith(".")
    assert re.search(message, result["message"]), result
    assert result["megabytes"] < MEGABYTES, result
    assert result["seconds"] < SECONDS, result


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """``{name: (path, result)}`` of all in the table."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = {}
    for number, (name, (file, write, _)) in enumerate(HOSTILE.items()):
        paths[name] = folder / str(number) / file
        paths[name].parent.mkdir()
        write(paths[name])
        assert paths[name].stat().st_size < 2**20
    return dict(zip(paths, zip(paths.values(), read(folder, paths.values()), strict=True), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_at_once(results, name):
    path, result = results[name]
    assert_refused(result, path, HOSTILE[name][2])


def test_an_archive_that_unpacks_to_gigabytes(tmp_path):
    """The reader gives up at 4 GiB: what lies behind is not unpacked, and little of it is ever in memory."""
    path = tmp_path / "x.tgz"
    tar_bomb(path)
    assert path.stat().st_size < 2**25
    (result,) = read(tmp_path, [path])
    assert_refused(result | {"seconds": 0}, path, "unpacks to more than")


def test_a_constant_of_a_type_that_numpy_has_not(tmp_path):
    """Type 20 is a reference to a resource; no array holds one."""
    path = tmp_path / "graph.pb"
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    freeze(path, "mobilenet_v1", variables, depth_multiplier=0.25, image_size=64)
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    for dtype in (20, 21):
        node = next(node for node in graph.node if node.name.endswith("Conv2d_0/weights"))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = dtype
        path.write_bytes(graph.SerializeToString())
        with pytest.raises(checkpoints.CheckpointError, match="has no known dtype"):
            checkpoints.load_variables(path)


def test_a_call_of_an_object_that_does_not_exist(tmp_path, shared):
    folder = tmp_path / "module"
    shutil.copytree(shared / "hub" / "mobilenet_v2_100_224_feature_vector", folder)
    model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for child in model.meta_graphs[0].object_graph_def.nodes[0].children:
        if child.local_name == "__call__":
            child.node_id = 10**6
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(checkpoints.CheckpointError, match="refers to one that does not exist"):
        checkpoints.load_variables(folder)
