"""What a file takes in memory, on the disk and in time is bounded by its own size, and commands do not grow."""

import gzip
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest

import checkpoints
import converters
import mobilenets
from checkpoints import hdf5
from checkpoints.inputs import EXTRA_BYTES, allowance
from checkpoints.wire import to_varint
from converters import keras_archive
from converters.graph_facts import graph_facts
from converters.graphs.nodes import by_name, read_graph
from converters.keras_archive import check_archive
from converters.keras_file import open_keras_file
from converters.variable_limit import limited_variables
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.process_memory import peak
from tests.processor_time import processor_time_below
from tests.test_checkpoints_sstable import HEADER, block, entry, proto_shape, table

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


def test_an_index_of_many_names_for_one_place(tmp_path):
    """With right checksums: 60 names for the same 4 MB would be 240 MB of arrays."""
    array = np.zeros(2**20, np.float32)
    array.tofile(tmp_path / "x.data-00000-of-00001")
    place = entry(shape=proto_shape(array.size), size=array.nbytes, crc32c=checkpoints.masked_crc32c(array))
    rows = [(b"", HEADER.SerializeToString()), *((b"v%04d" % number, place) for number in range(60))]
    (tmp_path / "x.index").write_bytes(table(block(rows)))
    with pytest.raises(checkpoints.CheckpointError, match="'v0000' and b'v0001' have the same bytes"):
        checkpoints.load_variables(tmp_path / "x")


def test_an_hdf5_file_of_many_objects(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(hdf5.MAX_OBJECTS + 1):
            file.create_group(f"v{number}")
    with pytest.raises(checkpoints.CheckpointError, match="more than 5000 groups and datasets"):
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


def configuration(saved):
    with zipfile.ZipFile(saved / "net.keras") as archive:
        return json.loads(archive.read("config.json"))


def refused(saved, tmp_path, config, message):
    """Refuses a file with this configuration in 5 seconds and little memory."""
    path = changed(saved, tmp_path / "x.keras", **{"config.json": json.dumps(config)})
    before = peak()
    with processor_time_below(5), pytest.raises(converters.ConversionError, match=message) as error:
        converters.load_model(path)
    assert peak() - before < 200
    assert str(path) in str(error.value) and "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_keras_file_of_many_layers(saved, tmp_path):
    config = configuration(saved)
    config["config"]["layers"] *= 20
    refused(saved, tmp_path, config, r"has \d+ layers, more than 600")
    check_archive(saved / "net.keras")


def nested(levels, calls):
    """Models in each other, each of which calls the one in it so many times."""
    inner = keras.layers.Activation("relu")
    for _ in range(levels):
        inputs = outputs = keras.Input((1,))
        for _ in range(calls):
            outputs = inner(outputs)
        inner = keras.Model(inputs, outputs)
    return json.loads(inner.to_json())


@pytest.mark.parametrize(("levels", "calls"), [(8, 3), (1, 800), (100, 1)])
def test_a_keras_file_of_models_in_each_other(saved, tmp_path, levels, calls):
    """Few layers, and many calls of them."""
    refused(saved, tmp_path, nested(levels, calls), r"(calls|has) \d+ layers, more than (600|3000)")


def test_a_network_in_a_model_in_a_model(tmp_path):
    model = mobilenets.build("mobilenet_v3_large_100_224")
    for _ in range(2):
        model = keras.Sequential([keras.Input((224, 224, 3)), model])
    model.save(tmp_path / "x.keras")
    assert check_archive(tmp_path / "x.keras") == EXTRA_BYTES + 4 * model.count_params()


def test_calls_of_billions_of_layers(saved, tmp_path):
    config = nested(1, 1)
    for _ in range(40):
        outer = nested(1, 2)
        (layer,) = (layer for layer in outer["config"]["layers"] if layer["class_name"] == "Activation")
        layer |= {"class_name": "Functional", "module": "keras.src.models.functional", "config": config["config"]}
        config = outer
    refused(saved, tmp_path, config, "calls billions of layers")


LAYERS = {
    "dense": keras.layers.Dense(10**9),
    "convolution": keras.layers.Conv2D(10**6, 9),
    "depthwise": keras.layers.DepthwiseConv2D(9, depth_multiplier=10**6),
    "random values": keras.layers.Dense(10**9, kernel_initializer="orthogonal"),
    "other dtype": keras.layers.Conv2D(10**7, 1, dtype="float64"),
    "in a wrapper": keras.layers.SpectralNormalization(keras.layers.Dense(10**9)),
    "table": keras.layers.Embedding(10**9, 100),
    "in a model": keras.Sequential([keras.layers.Conv2D(10**9, 3)]),
    "several": keras.Sequential([keras.layers.Dense(5 * 10**6) for _ in range(3)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_keras_file_of_a_huge_layer(saved, tmp_path, name):
    """Its weights would be larger than those in the file, which are compared before memory is allocated."""
    config = configuration(saved)
    layer = keras.saving.serialize_keras_object(LAYERS[name])
    target = next(part for part in config["config"]["layers"] if part["class_name"] == "Conv2D")
    layer["config"] |= {"name": "huge"}
    target |= {key: layer[key] for key in ("module", "class_name", "registered_name", "config")} | {"name": "huge"}
    target.pop("build_config", None)
    for part in config["config"]["layers"]:
        for node in part["inbound_nodes"]:
            renamed(node, "MobilenetV1__Conv2d_0", "huge")
    refused(saved, tmp_path, config, "variables of more than")


def renamed(part, old, new):
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, (dict, list)):
            renamed(value, old, new)
        elif value == old:
            part[key] = new


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(1, unroll=True),
        keras.layers.TimeDistributed(keras.layers.Dense(1)),
        keras.layers.Bidirectional(keras.layers.GRU(1)),
        keras.layers.RNN(keras.layers.SimpleRNNCell(1)),
    ],
)
def test_a_keras_file_of_a_loop(saved, tmp_path, layer):
    """Keras would build one step after another, as many as the input has."""
    config = {"module": "keras", "class_name": "Sequential", "registered_name": None}
    config["config"] = {"name": "net", "layers": [keras.saving.serialize_keras_object(layer)]}
    refused(saved, tmp_path, config, "which no network for images needs")


def test_a_keras_file_of_repeated_work(saved, tmp_path):
    layer = keras.layers.SpectralNormalization(keras.layers.Dense(1), power_iterations=10**6)
    config = {"module": "keras", "class_name": "Sequential", "registered_name": None}
    config["config"] = {"name": "net", "layers": [keras.saving.serialize_keras_object(layer)]}
    refused(saved, tmp_path, config, r"has \d+ layers, more than 600")


OUTPUTS = {
    "one": (224, [keras.layers.UpSampling2D(10**4)]),
    "any size": (None, [keras.layers.UpSampling2D(10**4)]),
    "several": (None, [keras.layers.UpSampling2D(100), keras.layers.UpSampling2D(100)]),
    "padding": (None, [keras.layers.ZeroPadding2D(10**5)]),
    "resized": (None, [keras.layers.Resizing(10**5, 10**5)]),
    "channels": (224, [keras.layers.Conv2D(10**5, 1)]),
    "in a model": (None, [keras.Sequential([keras.layers.UpSampling2D(100), keras.layers.UpSampling2D(100)])]),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_keras_file_of_a_huge_output(tmp_path, name):
    side, layers = OUTPUTS[name]
    model = keras.Sequential([keras.Input((side, side, 3)), *layers, keras.layers.GlobalAveragePooling2D()])
    model.save(tmp_path / "x.keras")
    with pytest.raises(converters.ConversionError, match=r"output of its layer \S+ has \d+ values for one image"):
        open_keras_file(tmp_path / "x.keras")


@pytest.mark.parametrize("side", [2016, None])
def test_outputs_of_networks_are_not_huge(tmp_path, side):
    images = keras.Input((side, side, 3))
    model = keras.Model(images, mobilenets.MobileNetV1(1.0, (None, None, 3))(keras.layers.ZeroPadding2D(1)(images)))
    model.save(tmp_path / "x.keras")
    assert open_keras_file(tmp_path / "x.keras").count_params() == model.count_params()


def weights_file(**options):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", **options)
    return content.getvalue()


def external(folder):
    (folder / "x.raw").write_bytes(bytes(4 * 2**20))
    return weights_file(shape=(2**20,), dtype="f4", external=[(str(folder / "x.raw"), 0, 4 * 2**20)])


WEIGHTS = {
    "compressed": lambda folder: weights_file(data=np.zeros(2**28, "i1"), chunks=(2**20,), compression="gzip"),
    "never written": lambda folder: weights_file(shape=(2**40,), dtype="f4", chunks=(2**20,)),
    "in another file": external,
    "no HDF5": lambda folder: b"x" * 1000,
    "cut short": lambda folder: weights_file(data=np.zeros(2**10))[:3000],
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_keras_file_whose_weights_expand(saved, tmp_path, name):
    """Of any array, also one that no layer has."""
    path = changed(saved, tmp_path / "x.keras", **{"model.weights.h5": WEIGHTS[name](tmp_path)})
    refusal = pytest.raises(converters.ConversionError, match=r"bytes but stores|h5 is damaged|in another file")
    with processor_time_below(5), refusal:
        converters.load_model(path)


def test_a_keras_file_of_many_arrays(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_archive, "MAX_OBJECTS", 50)
    with pytest.raises(converters.ConversionError, match="more than 50 groups and arrays"):
        converters.load_model(saved / "net.keras")


def test_a_keras_file_without_weights(saved, tmp_path):
    with zipfile.ZipFile(saved / "net.keras") as source, zipfile.ZipFile(tmp_path / "x.keras", "w") as target:
        target.writestr("config.json", source.read("config.json"))
        target.writestr("model.weights.npz", b"")
    (tmp_path / "x.manifest.json").write_bytes((saved / "net.manifest.json").read_bytes())
    with pytest.raises(converters.ConversionError, match=r"it has no model.weights.h5"):
        converters.load_model(tmp_path / "x.keras")


def test_the_limit_of_variables_ends():
    """A layer that is made afterwards has no limit, and one within it has what the outer limit leaves."""
    with limited_variables(100) as outer:
        with limited_variables(8) as inner, pytest.raises(ValueError, match="larger than the weights"):
            keras.layers.Dense(1).build((None, 3))
        keras.layers.Dense(1).build((None, 3))
        assert inner.exceeded and not outer.exceeded
    add_weight = keras.Layer.add_weight
    assert add_weight.__module__.startswith("keras")
    keras.layers.Dense(1).build((None, 300))


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "\xff"])
def test_a_keras_file_of_no_json(saved, tmp_path, content):
    path = changed(saved, tmp_path / "x.keras", **{"config.json": content})
    with pytest.raises(converters.ConversionError, match="cannot be opened as a Keras model"):
        converters.load_model(path)


def message(number, content):
    return to_varint(number << 3 | 2) + to_varint(len(content)) + content


def meta_of_nodes():
    """Of a renamed network, whose nodes are copied, and of many others."""
    scope = b"net/Conv/"
    conv = message(1, scope + b"Conv2D") + message(2, b"Conv2D") + message(3, scope + b"weights/read")
    others = (message(1, b"%x" % number) for number in range(140_000))
    return message(2, b"".join(message(1, node) for node in (conv, *others)))


METAS = {
    "nodes": (meta_of_nodes, None),
    "more nodes": (lambda: message(2, message(1, b"") * 300_000), "nodes, inputs and attributes"),
    "no graph": (lambda: message(3, b"") * 1_100_000, "nodes, inputs and attributes"),
    "inputs": (lambda: message(2, message(1, message(3, b"") * 1_010_000)), "nodes, inputs and attributes"),
    "attributes": (lambda: message(2, message(1, message(5, b"") * 1_010_000)), "nodes, inputs and attributes"),
    "no text": (lambda: message(2, message(1, b"\x08\x01")), "a name of a node is no text"),
    "damaged attribute of a convolution": (
        lambda: message(2, message(1, message(1, b"MobilenetV1/a/Conv2D") + message(2, b"Conv2D") + message(5, b"zz"))),
        "no MetaGraphDef",
    ),
}


@pytest.mark.parametrize("name", METAS)
def test_a_meta_file(tmp_path, name):
    """It is read in 5 seconds and the memory that its size allows, or a note says that it is not used."""
    make, text = METAS[name]
    checkpoints.save_checkpoint({"a": np.zeros(3, np.float32)}, tmp_path / "net.ckpt")
    (tmp_path / "net.ckpt.meta").write_bytes(content := make())
    size = len(content)
    before = peak()
    with processor_time_below(5):
        notes = graph_facts(tmp_path / "net.ckpt", "mobilenet_v1").notes
    assert (peak() - before) * 2**20 < allowance(size)
    assert bool(notes) == bool(text)
    for note in notes:
        assert str(tmp_path / "net.ckpt.meta") in note and text in note
        assert note.endswith("Strides and padding are not compared with it.")


def test_a_meta_file_of_gigabytes(tmp_path):
    checkpoints.save_checkpoint({"a": np.zeros(3, np.float32)}, tmp_path / "net.ckpt")
    with open(tmp_path / "net.ckpt.meta", "wb") as stream:
        stream.truncate(3 * 2**30)
    tracemalloc.start()
    (note,) = graph_facts(tmp_path / "net.ckpt", "mobilenet_v1").notes
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20
    assert "net.ckpt.meta is not read, because it has more than 268,435,456 bytes" in note


GROWTH = """
import gc, pathlib, sys
import converters
from tests.process_memory import peak, resident
folder, times = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def now():
    gc.collect()
    return resident()
def work():
    model = converters.convert(folder / "net.ckpt", input_shape=(64, 64, 3))
    converters.verify(model, folder / "net.ckpt")
    converters.verify(model, folder / "net.pb")
for number in range(times):
    work()
    if number == 19:
        before = now()
print(now() - before, peak())
"""


def test_convert_and_verify_stay_level(saved):
    """Measured after 20 times, and again after 120."""
    variables = checkpoints.load_variables(saved / "net.ckpt")
    freeze(saved / "net.pb", "mobilenet_v1", variables, depth_multiplier=0.25, image_size=64)
    command = [sys.executable, "-c", GROWTH, str(saved), "120"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    growth, most = map(float, ended.stdout.split())
    assert growth < 22
    assert most < 4 * 2**10


def test_a_graph_of_many_nodes(saved, tmp_path):
    """The network needs none of them, and there are more than in any real file."""
    path = tmp_path / "x.pb"
    variables = checkpoints.load_variables(saved / "net.ckpt")
    freeze(path, "mobilenet_v1", variables, depth_multiplier=0.25, image_size=64)
    nodes = b"".join(b"\x0a%b" % _node(f"n{number}") for number in range(300_000))
    path.write_bytes(path.read_bytes() + nodes)
    with processor_time_below(5):
        assert len(nodes_by_name(path)) > 300_000


def nodes_by_name(path):
    return by_name(read_graph(path), path)


def _node(name):
    content = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12\x04NoOp"
    return bytes([len(content)]) + content
