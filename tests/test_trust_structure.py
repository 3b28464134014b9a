"""Files with right checksums that say something else: read, or refused in a sentence, in bounded time and memory.

The readers of these formats are Python, so the mutants are read in this process. Native readers of HDF5 and `.keras`
have fewer.
"""

import json
import pathlib
import random
import time
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

import checkpoints
import converters
import mobilenets
from checkpoints import sstable
from checkpoints.hub_module import image_size, saved_model_kind
from converters.graphs.layers import paddings_of, strides_of
from converters.graphs.plain_nodes import plain_nodes_of_meta_graph
from converters.graphs.renamed_scopes import nodes_with_slim_scopes
from converters.images.image_paths import ImagePaths
from converters.images.labelled import labels_file
from converters.images.labels import read_labels
from converters.keras_file import open_keras_file
from converters.litert.schema import read_model
from converters.manifest import configured_structure, differing_variables, published_in
from converters.manifest_file import manifests_of
from tests.oracle.recipes import made_up_variables
from tests.process_memory import peak
from tests.structure import mutate_message, mutated_json, mutated_lines
from tests.test_checkpoints_sstable import block, table
from tests.test_trust_fuzz import network, small, write_graph

SECONDS = 5
MEGABYTES = 400  # that all mutants of a format together may add; the limit of a single small file is 64 MiB


class Subject:
    """Writes mutants of a file and reads them; `write` is called once more for each."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.path = self.make(small(1))

    def read(self):
        found = checkpoints.load_variables(self.path)
        assert all(isinstance(array, np.ndarray) for array in found.values())


class V2(Subject):
    def make(self, variables):
        checkpoints.save_checkpoint(variables, self.folder / "x")
        self.rows = list(sstable.entries(self.folder / "x.index"))
        return self.folder / "x"

    def write(self, choose):
        rows = list(self.rows)
        for _ in range(choose.choice((1, 1, 2, 4))):
            number = choose.randrange(len(rows))
            key, value = rows[number]
            message = (BundleEntryProto if key else BundleHeaderProto).FromString(value)
            mutate_message(message, choose)
            rows[number] = key, message.SerializeToString()
            if choose.random() < 0.1:
                rows.insert(choose.randrange(len(rows)), (choose.choice((b"\0x", b"zz", key)), rows[number][1]))
        (self.folder / "x.index").write_bytes(table(block(rows)))


class V1(V2):
    def make(self, variables):
        checkpoints.save_checkpoint(variables, self.folder / "x.ckpt", version=1)
        self.rows = list(sstable.entries(self.folder / "x.ckpt"))
        return self.folder / "x.ckpt"

    def write(self, choose):
        rows = list(self.rows)
        for _ in range(choose.choice((1, 1, 2))):
            number = choose.choice((0, choose.randrange(len(rows))))
            message = SavedTensorSlices.FromString(rows[number][1])
            mutate_message(message, choose)
            rows[number] = rows[number][0], message.SerializeToString()
        self.path.write_bytes(table(block(rows)))


class Graph(Subject):
    def make(self, variables):
        write_graph(variables, self.folder / "x.pb")
        self.graph = tf.compat.v1.GraphDef.FromString((self.folder / "x.pb").read_bytes())
        return self.folder / "x.pb"

    def write(self, choose):
        graph = tf.compat.v1.GraphDef.FromString(self.graph.SerializeToString())
        for _ in range(choose.choice((1, 1, 3))):
            mutate_message(graph, choose)
        self.path.write_bytes(graph.SerializeToString())


class Meta(Graph):
    """The graph next to a checkpoint, of which a conversion reads strides and padding."""

    def write(self, choose):
        super().write(choose)
        self.data = MetaGraphDef(graph_def=GraphDef.FromString(self.path.read_bytes())).SerializeToString()
        if choose.random() < 0.3:
            at = choose.randrange(len(self.data))
            self.data = self.data[:at] + choose.randbytes(choose.choice((0, 1, 2))) + self.data[at + 1 :]

    def read(self):
        nodes = nodes_with_slim_scopes(plain_nodes_of_meta_graph(self.data))
        strides_of(nodes)
        paddings_of(nodes)


class Module(Subject):
    def make(self, variables):
        class Net(tf.train.Checkpoint):
            @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3))])
            def __call__(self, images):
                return images

        root = Net(variables=[tf.Variable(value, name=name) for name, value in variables.items()])
        tf.saved_model.save(root, str(self.folder / "module"), signatures=root.__call__)
        self.model = SavedModel.FromString((self.folder / "module" / "saved_model.pb").read_bytes())
        return self.folder / "module"

    def write(self, choose):
        model = SavedModel.FromString(self.model.SerializeToString())
        objects = model.meta_graphs[0].object_graph_def
        # Most of the file is a graph that is not run, so the objects and their variables get most of the changes.
        for _ in range(choose.choice((1, 4, 16))):
            mutate_message(choose.choice((model, objects, *list(objects.nodes)[:3])), choose)
        (self.path / "saved_model.pb").write_bytes(model.SerializeToString())

    def read(self):
        saved_model_kind(self.path)
        image_size(self.path)
        super().read()


class Hdf5(Subject):
    def make(self, variables):
        self.variables = variables
        return self.folder / "x.h5"

    def write(self, choose):
        checkpoints.save_hdf5(self.variables, self.path)
        with h5py.File(self.path, "r+") as file:
            name = choose.choice(sorted(self.variables))
            how = choose.randrange(8)
            if how == 0:
                del file[name]
            elif how == 1:
                file[name].attrs["masked_crc32c"] = choose.choice(("x", 0, np.zeros(3), 2**63))
            elif how == 2:
                file.attrs["contents"] = choose.choice(("x", 0, np.zeros(3)))
            elif how == 3:
                file.attrs["version"] = choose.choice(("x", 0, np.zeros(3)))
            elif how == 4:
                file.create_dataset("zz", data=choose.choice((np.zeros(3, "S5"), np.zeros(2, "V4"), b"x", 1 + 2j)))
            elif how == 5:
                file["zz"] = choose.choice((h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/"), file[name]))
            elif how == 6:
                file.create_dataset("zz", (2**28,), "f4", chunks=(2**20,), compression="gzip", fillvalue=1.0)
            else:
                file.attrs["format"] = choose.choice(("x", 5, np.zeros(3)))


class Safetensors(Subject):
    def make(self, variables):
        safetensors.numpy.save_file(
            {name: np.atleast_1d(value) for name, value in variables.items()}, self.folder / "x"
        )
        data = (self.folder / "x").read_bytes()
        length = int.from_bytes(data[:8], "little")
        self.header, self.data = json.loads(data[8 : 8 + length]), data[8 + length :]
        return self.folder / "x.safetensors"

    def write(self, choose):
        header = mutated_json(self.header, choose).encode()
        self.path.write_bytes(len(header).to_bytes(8, "little") + header + self.data)


class Manifest(Subject):
    def make(self, variables):
        conversion = converters.conversion_of(network(1), input_shape=(32, 32, 3), head="classification")
        converters.save_model(conversion, self.folder / "net.keras", verify=False)
        self.manifest = converters.read_manifest(self.folder / "net.manifest.json")
        self.variables = converters.slim_variables(conversion.model)
        return self.folder / "net.manifest.json"

    def write(self, choose):
        self.path.write_text(mutated_json(self.manifest, choose))

    def read(self):
        manifest = converters.read_manifest(self.path)
        differing_variables(self.variables, manifest)
        configured_structure(manifest)


class KerasFile(Manifest):
    def make(self, variables):
        super().make(variables)
        with zipfile.ZipFile(self.folder / "net.keras") as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        return self.folder / "x.keras"

    def write(self, choose):
        member = choose.choice(("config.json", "config.json", "metadata.json", "mobilenets.manifest.json"))
        with zipfile.ZipFile(self.path, "w") as archive:
            for name, content in self.members.items():
                archive.writestr(name, mutated_json(json.loads(content), choose) if name == member else content)

    def read(self):
        open_keras_file(self.path)
        published_in(manifests_of(self.path))


class Lists(Subject):
    def make(self, variables):
        return self.folder / "x.txt"

    def write(self, choose):
        self.lines = [f"folder/{number}.png {number}" for number in range(5)]
        self.path.write_bytes(mutated_lines(self.lines, choose))

    def read(self):
        list(ImagePaths(lists=[self.path]))
        labels_file(self.path, self.folder, 10)
        read_labels(self.path, 5)


class LiteRT(Subject):
    """Without checksums: any word of the first part, where the format keeps its tables, becomes another."""

    def make(self, variables):
        self.data = MATERIAL.read_bytes()
        return self.folder / "x.tflite"

    def write(self, choose):
        data = bytearray(self.data)
        for _ in range(choose.choice((1, 2, 5))):
            start = choose.choice((choose.randrange(200), choose.randrange(len(data) - 40_000, len(data) - 4)))
            data[start : start + 4] = (choose.choice((0, 1, 255, 2**31 - 1, 2**32 - 1, start))).to_bytes(4, "little")
        data[4:8] = b"TFL3"
        self.path.write_bytes(data)

    def read(self):
        read_model(self.path)


MATERIAL = pathlib.Path(__file__).resolve().parents[2] / "shared" / "material" / "mobilenet_v1_0_25_128_quant.tflite"
# Mutants of each: all of them, and those of the normal selection.
COUNTS = {
    V2: (1500, 60),
    V1: (900, 40),
    Graph: (1000, 40),
    Meta: (500, 40),
    Module: (500, 100),
    Hdf5: (60, 0),
    Safetensors: (500, 30),
    Manifest: (500, 30),
    KerasFile: (60, 0),
    Lists: (300, 30),
    LiteRT: (100, 0),
}
RUNS = [
    *((kind, few) for kind, (_, few) in COUNTS.items() if few),
    *((kind, many) for kind, (many, _) in COUNTS.items()),
]


def test_there_are_enough_of_them():
    assert sum(many for many, _ in COUNTS.values()) >= 5000


@pytest.mark.parametrize(("kind", "count"), RUNS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_mutant_is_read_or_refused_in_a_sentence(tmp_path, kind, count):
    if kind is LiteRT and not MATERIAL.is_file():
        pytest.skip("the real LiteRT models are missing")
    subject = kind(tmp_path)
    choose = random.Random(f"{kind.__name__} {count}")
    before, slowest, refused = None, 0.0, 0
    for number in range(count):
        subject.write(choose)
        start = time.monotonic()
        try:
            subject.read()
        except (ValueError, OSError) as error:
            refused += 1
            message = str(error)
            assert message.strip() and len(message.splitlines()) < 60, (number, message)
            assert all(c.isprintable() or c == "\n" for c in message), (number, message)
            assert not isinstance(error, UnicodeDecodeError), number
        slowest = max(slowest, time.monotonic() - start)
        before = before or peak()
    assert refused
    assert slowest < SECONDS
    assert peak() - before < MEGABYTES
    print(f"\n{kind.__name__}: {refused} of {count} refused, slowest {slowest:.2f} s, {peak() - before:.0f} MB more")


def test_growth_of_readers(tmp_path):
    """Reading the same files again and again takes no more memory, and leaves no file open."""
    path = tmp_path / "x"
    checkpoints.save_checkpoint(made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25, 10)), path)

    def read():
        checkpoints.load_variables(path)

    for _ in range(20):
        read()
    before, open_files = peak(), len(list(pathlib.Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        read()
    assert peak() - before < 20
    assert len(list(pathlib.Path("/proc/self/fd").iterdir())) == open_files
