"""Files that TensorFlow writes in each of its ways, and what it reads of ours."""

import contextlib

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import checkpoints
from checkpoints.tensor_bundle import read_index, read_string, strings

v1 = tf.compat.v1
NUMBERS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128".split()  # noqa: SIM905
SMALL = "bfloat16 float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4".split()  # noqa: SIM905
# TensorFlow writes the last three, but does not read them.
IN_V1 = "bool int8 int16 int32 int64 uint8 float32 float64 complex128 float16 complex64 uint16".split()  # noqa: SIM905


def values(dtype, shape, seed=0):
    """Any bits of the dtype."""
    number = np.dtype(getattr(ml_dtypes, dtype, dtype))
    size = int(np.prod(shape, dtype=int))
    bits = np.random.default_rng(seed).integers(0, 256, size * number.itemsize).astype(np.uint8)
    if dtype == "bool" or "int4" in dtype:
        return (bits % (2 if dtype == "bool" else 8)).astype(number).reshape(shape)
    return bits.view(number).reshape(shape)


def assert_identical(loaded, expected):
    assert list(loaded) == sorted(expected)
    for name, array in expected.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape), name
        assert loaded[name].tobytes() == array.tobytes(), name


def save(path, version, variables, slices=None):
    """Writes with TensorFlow's operations."""
    names, tensors = list(variables), [tf.constant(value) for value in variables.values()]
    slices = slices or [""] * len(names)
    if version == 1:
        tf.raw_ops.SaveSlices(filename=str(path), tensor_names=names, shapes_and_slices=slices, data=tensors)
    else:
        tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=slices, tensors=tensors)


@pytest.mark.parametrize(
    ("version", "dtype"), [(1, dtype) for dtype in IN_V1] + [(2, dtype) for dtype in NUMBERS + SMALL]
)
def test_every_dtype(tmp_path, version, dtype):
    shapes = [(), (3,), (0, 3), (2, 3, 4), (70_000,)]
    variables = {f"a/{i}": values(dtype, shape, i) for i, shape in enumerate(shapes)}
    save(tmp_path / "x", version, variables)
    assert_identical(checkpoints.load_variables(tmp_path / "x"), variables)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8"])
def test_extreme_integers_in_v1(tmp_path, dtype):
    limits = np.iinfo(dtype)
    steps = [0, 1, 63, 64, 127, 128, 2**14 - 1, 2**14, 2**31 - 1, 2**31, 2**62]
    numbers = sorted({n for step in steps for n in (step, -step, limits.max - step, limits.min + step)})
    variables = {"a": np.array([n for n in numbers if limits.min <= n <= limits.max], dtype)}
    save(tmp_path / "x", 1, variables)
    assert_identical(checkpoints.load_variables(tmp_path / "x"), variables)
    checkpoints.save_checkpoint(variables, tmp_path / "y", version=1)
    assert_identical(checkpoints.load_variables(tmp_path / "y"), variables)
    assert tf.train.load_checkpoint(str(tmp_path / "y")).get_tensor("a").tobytes() == variables["a"].tobytes()


CPUS = 3


@contextlib.contextmanager
def graph():
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": CPUS})) as session:
        yield session


def partitioned(session):
    """Makes variables on several processors, some in parts; returns their whole values."""
    whole = {
        "net/rows": values("float32", (10, 4), 1),
        "net/columns": values("float64", (3, 7), 2),
        "net/whole": values("float32", (5,), 3),
        "net/odd.name": values("int64", (2, 2), 4),
        "global_step": np.int64(7),
    }
    for index, (name, value) in enumerate(whole.items()):
        axis = {"net/rows": 0, "net/columns": 1}.get(name)
        with tf.device(f"/cpu:{index % CPUS}"):
            if axis is None:
                session.run(v1.get_variable(name, initializer=value, use_resource=False).initializer)
                continue
            part = v1.fixed_size_partitioner(3, axis)
            variable = v1.get_variable(
                name, value.shape, tf.as_dtype(value.dtype), partitioner=part, use_resource=False
            )
        # A part to each processor, as in training with parameter servers.
        ends = np.cumsum([one.shape.as_list()[axis] for one in variable])[:-1]
        for one, array in zip(variable, np.split(value, ends, axis), strict=True):
            session.run(v1.assign(one, array))
    return whole


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_savers_with_partitioned_variables(tmp_path, version, sharded):
    with graph() as session:
        whole = partitioned(session)
        saver = v1.train.Saver(sharded=sharded, write_version=version)
        path = saver.save(session, str(tmp_path / "x"), global_step=1)
    if version == 1 and sharded:
        assert "?????" in path
    loaded = checkpoints.load_variables(path)
    assert_identical(loaded, whole)
    assert_identical(checkpoints.load_variables(tmp_path), whole)
    reader = tf.train.load_checkpoint(path)
    for name in whole if version == 2 else ():  # it refuses V1 checkpoints with slices
        assert np.asarray(reader.get_tensor(name)).tobytes() == loaded[name].tobytes()


def test_every_path_of_a_v1_checkpoint_of_shards(tmp_path):
    save(tmp_path / "x-00000-of-00002", 1, {"a": values("float32", (2, 4))}, ["4 4 0,2:-"])
    save(tmp_path / "x-00001-of-00002", 1, {"a": values("float32", (2, 4), 1), "b": np.int64(-1)}, ["4 4 2,2:0,4", ""])
    whole = {"a": np.concatenate([values("float32", (2, 4)), values("float32", (2, 4), 1)]), "b": np.int64(-1)}
    for name in ("x-00000-of-00002", "x-00001-of-00002", "x-?????-of-00002", "x", "x.meta", "."):
        with checkpoints.open_variables(tmp_path / name) as variables:
            assert_identical(variables, whole)
            assert [file.name for file in variables.files] == ["x-00000-of-00002", "x-00001-of-00002"]
    (tmp_path / "x-00000-of-00002").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="x-00000-of-00002 is missing"):
        checkpoints.load_variables(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_slices_in_two_dimensions(tmp_path, version):
    whole = values("float32", (4, 6))
    parts = {"4 6 0,1:0,6": whole[:1], "4 6 1,3:0,2": whole[1:, :2], "4 6 1,3:2,4": whole[1:, 2:]}
    if version == 1:  # each name once in an operation
        for index, (slices, value) in enumerate(parts.items()):
            save(tmp_path / f"x-0000{index}-of-00003", 1, {"a": value}, [slices])
    else:
        names, tensors = ["a"] * len(parts), [tf.constant(value) for value in parts.values()]
        path = str(tmp_path / "x")
        tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=list(parts), tensors=tensors)
    assert_identical(checkpoints.load_variables(tmp_path / "x"), {"a": whole})


@pytest.mark.parametrize("slices", [["4 2 0,2:-"], ["4 2 0,2:-", "4 2 1,2:-"]], ids=["missing", "overlapping"])
def test_slices_that_do_not_make_the_whole(tmp_path, slices):
    values = [tf.ones((2, 2))] * len(slices)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"), tensor_names=["a"] * len(slices), shape_and_slices=slices, tensors=values
    )
    with pytest.raises(checkpoints.CheckpointError, match=r"x\.index is damaged: a \(4, 2\)|a in .*its slices overlap"):
        checkpoints.load_variables(tmp_path / "x")


def test_a_checkpoint_of_objects_and_a_saved_model(tmp_path):
    class Net(tf.Module):
        def __init__(self):
            self.a = tf.Variable(values("bfloat16", (3, 2)), name="a")
            self.step = tf.Variable(np.int64(3), name="step")

    net = Net()
    prefix = tf.train.Checkpoint(net=net).save(str(tmp_path / "x"))
    loaded = checkpoints.load_variables(prefix)
    assert loaded["net/a/.ATTRIBUTES/VARIABLE_VALUE"].tobytes() == net.a.numpy().tobytes()
    assert loaded["net/step/.ATTRIBUTES/VARIABLE_VALUE"] == 3
    assert list(checkpoints.load_variables(tmp_path)) == list(loaded)
    graph = tf.train.load_checkpoint(prefix).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert read_string(tmp_path / "x-1", "_CHECKPOINTABLE_OBJECT_GRAPH") == graph
    assert read_string(tmp_path / "x-1", "nothing") is None
    with pytest.raises(checkpoints.CheckpointError, match="no single text"):
        read_string(tmp_path / "x-1", "net/step/.ATTRIBUTES/VARIABLE_VALUE")
    tf.saved_model.save(net, str(tmp_path / "saved"))
    loaded = checkpoints.load_variables(tmp_path / "saved" / "variables" / "variables")
    assert loaded["a/.ATTRIBUTES/VARIABLE_VALUE"].tobytes() == net.a.numpy().tobytes()


def test_texts(tmp_path):
    texts = [b"", b"one", b"\0" * 300, "zwölf".encode()]
    save(tmp_path / "x", 2, {"a": np.array(texts, object), "b": np.float32([1])})
    _, entries = read_index(tmp_path / "x.index")
    entry = entries[b"a"]
    data = (tmp_path / "x.data-00000-of-00001").read_bytes()[entry.offset : entry.offset + entry.size]
    assert strings(data, 4, entry.crc32c) == texts
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(ValueError, match=r"cut short|checksum|lengths"):
            strings(bytes(damaged), 4, entry.crc32c)
    assert list(checkpoints.load_variables(tmp_path / "x")) == ["b"]


@pytest.mark.parametrize("dtype", [*NUMBERS, "bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint4"])
def test_constants_of_every_dtype(tmp_path, dtype):
    """As one piece of bytes, and listed one by one."""
    variables = {"a": values(dtype, (3, 4)), "b": values(dtype, ()), "c": np.broadcast_to(values(dtype, ()), (5,))}
    with tf.Graph().as_default() as graph:
        for name, value in variables.items():
            tf.identity(tf.constant(value, name=name))
    tensor = next(node for node in graph.as_graph_def().node if node.name == "b").attr["value"].tensor
    assert not tensor.tensor_content
    (tmp_path / "x.pb").write_bytes(graph.as_graph_def().SerializeToString())
    assert_identical(checkpoints.load_variables(tmp_path / "x.pb"), variables)


@pytest.mark.parametrize("version", [1, 2])
def test_many_variables_are_read_by_tensorflow(tmp_path, version):
    """More than one block of the table, names that TensorFlow sorts by bytes."""
    names = [f"{start}/{i:04d}/weights" for i in range(300) for start in ("é", "net", "Net")]
    variables = {name: np.full((i % 7, 3), i, np.float32) for i, name in enumerate(names)}
    variables["large"] = values("float64", (50_000,))
    checkpoints.save_checkpoint(variables, tmp_path / "x", version)
    reader = tf.train.load_checkpoint(str(tmp_path / "x"))
    assert reader.get_variable_to_shape_map() == {name: list(array.shape) for name, array in variables.items()}
    for name, array in variables.items():
        assert reader.get_tensor(name).tobytes() == array.tobytes(), name
    with tf.Graph().as_default(), v1.Session() as session:
        restored = v1.get_variable("large", (50_000,), tf.float64)
        v1.train.Saver([restored]).restore(session, str(tmp_path / "x"))
        assert session.run(restored).tobytes() == variables["large"].tobytes()
