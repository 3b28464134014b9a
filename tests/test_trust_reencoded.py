"""Damage that is encoded again with right checksums: wrong types and shapes, places outside of the data, bad slices."""

import copy
import random
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

import checkpoints
from checkpoints import sstable
from tests.test_checkpoints_sstable import block, table

MEGABYTES = 65  # at a time; the files have less than 4 KiB, and constants may be filled to 64 MiB
WHOLE = np.arange(24, dtype=np.float32).reshape(6, 4)
VARIABLES = {
    "a/parts": WHOLE,
    "b/weights": np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 3, 2),
    "c/integers": np.arange(1, 9, dtype=np.int32),
    "global_step": np.array(7, np.int64),
}
NAMES = ["a/parts", *VARIABLES]
SLICES = ["6 4 0,2:-", "6 4 2,4:-", "", "", ""]
VALUES = [WHOLE[:2], WHOLE[2:], *list(VARIABLES.values())[1:]]
SIZES = [-1, 0, 1, 2, 3, 4, 6, 8, 2**20, 2**31, 2**40, 2**62]


def change_shape(shape, chance):
    kind = chance.choice(("size", "size", "more", "fewer", "unknown", "many"))
    if kind == "size" and shape.dim:
        chance.choice(shape.dim).size = chance.choice(SIZES)
    elif kind == "more":
        shape.dim.add(size=chance.choice(SIZES))
    elif kind == "fewer" and shape.dim:
        shape.dim.pop()
    elif kind == "many":
        shape.dim.extend([shape.dim.add(size=1)] * chance.choice((30, 70)))
    else:
        shape.unknown_rank = True


def change_slices(slices, chance):
    kind = chance.choice(("extent", "extent", "more", "fewer", "twice"))
    if kind == "more" or not slices:
        slices.add().extent.add(start=chance.choice(SIZES), length=chance.choice(SIZES))
    elif kind == "fewer":
        slices.pop()
    elif kind == "twice":
        slices.add().CopyFrom(chance.choice(slices))
    else:
        change_slice(chance.choice(slices), chance)


def change_slice(slice, chance):
    if not slice.extent or chance.random() < 0.2:
        slice.extent.add()
    extent = chance.choice(slice.extent)
    if chance.random() < 0.5:
        extent.start = chance.choice(SIZES)
    else:
        extent.length = chance.choice(SIZES)


def change_values(tensor, chance):
    """Values of another type, too many, too few, or none."""
    field, values = next((field.name, value) for field, value in tensor.ListFields() if field.name.endswith("_val"))
    other = chance.choice(("float_val", "int_val", "int64_val", "double_val", "half_val", "scomplex_val", "uint64_val"))
    kind = chance.choice(("field", "more", "fewer", "none", "content"))
    if kind == "field":
        getattr(tensor, other).extend([abs(int(value)) for value in values])
    elif kind == "more":
        values.extend(list(values) * chance.choice((1, 50)))
    elif kind == "fewer":
        values.pop()
    elif kind == "content":
        tensor.tensor_content = chance.randbytes(chance.choice((1, 32, 72)))
    if kind in ("none", "field") and field != other:
        tensor.ClearField(field)


def write_v2(path):
    tensors = [tf.constant(value) for value in VALUES]
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=NAMES, shape_and_slices=SLICES, tensors=tensors)
    return path.with_name(f"{path.name}.index")


def damage_v2(items, chance):
    key, value = chance.choice(items)
    message = (BundleEntryProto if key else BundleHeaderProto).FromString(value)
    if not key:
        field = chance.choice(("num_shards", "endianness"))
        setattr(message, field, chance.choice((0, 1)) if field == "endianness" else chance.choice(SIZES[:-4]))
    else:
        kind = chance.choice(("dtype", "shape", "shard_id", "offset", "size", "crc32c", "slices", "place"))
        if kind == "dtype":
            message.dtype = chance.randrange(130)
        elif kind == "shape":
            change_shape(message.shape, chance)
        elif kind == "slices":
            change_slices(message.slices, chance)
        elif kind == "place":  # that of another variable
            other = BundleEntryProto.FromString(chance.choice(items[1:])[1])
            message.offset, message.size, message.crc32c = other.offset, other.size, other.crc32c
        else:
            setattr(message, kind, chance.choice(SIZES[1:-3] if kind == "crc32c" else SIZES[:9]))
    return [(k, message.SerializeToString() if k == key else v) for k, v in items]


def write_v1(path):
    for index in range(2):  # the operation takes each name once
        names, slices, values = (
            [column[0], *column[2:]] if not index else column[1:2] for column in (NAMES, SLICES, VALUES)
        )
        file = path.with_name(f"{path.name}-0000{index}-of-00002")
        tf.raw_ops.SaveSlices(
            filename=str(file), tensor_names=names, shapes_and_slices=slices, data=[tf.constant(v) for v in values]
        )
    return path.with_name(f"{path.name}-00000-of-00002")


def damage_v1(items, chance):
    key, value = chance.choice((items[0], chance.choice(items)))
    message = SavedTensorSlices.FromString(value)
    if not key:
        variable = chance.choice(message.meta.tensor)
        kind = chance.choice(("type", "shape", "slice", "twice"))
        if kind == "type":
            variable.type = chance.randrange(130)
        elif kind == "shape":
            change_shape(variable.shape, chance)
        elif kind == "slice":
            change_slices(variable.slice, chance)
        else:
            message.meta.tensor.add().CopyFrom(variable)
    else:
        kind = chance.choice(("name", "slice", "values", "missing"))
        if kind == "missing":
            return [(k, v) for k, v in items if k != key]
        if kind == "name":
            message.data.name = chance.choice([*NAMES, ""])
        elif kind == "slice":
            change_slice(message.data.slice, chance)
        else:
            change_values(message.data.data, chance)
    return [(k, message.SerializeToString() if k == key else v) for k, v in items]


def graph():
    with tf.Graph().as_default() as graph:
        for name, value in VARIABLES.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
    return graph.as_graph_def()


def damaged_graph(graph, chance):
    damaged = copy.deepcopy(graph)
    node = chance.choice([node for node in damaged.node if node.op == "Const"])
    tensor = node.attr["value"].tensor
    kind = chance.choice(("dtype", "shape", "content"))
    if kind == "dtype":
        tensor.dtype = node.attr["dtype"].type = chance.randrange(130)
    elif kind == "shape":
        change_shape(tensor.tensor_shape, chance)
    else:
        tensor.tensor_content = chance.randbytes(chance.choice((0, 1, 8, 32, 72)))
    return damaged.SerializeToString()


def outcome(path, checked):
    """What becomes of a mutant: "refused", or "right" for the values that were stored, of whichever type and shape."""
    tracemalloc.start()
    try:
        loaded = checkpoints.load_variables(path)
    except checkpoints.CheckpointError as error:
        message = str(error)
        assert str(path.parent) in message and message.endswith(".") and message.isprintable(), message
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEGABYTES * 2**20
    for name, array in loaded.items() if checked else ():
        expected = VARIABLES[name]
        same = array.size == expected.size and (array.reshape(-1) == expected.reshape(-1)).all()
        assert same or array.tobytes() == expected.tobytes(), name
    return "right"


@pytest.mark.parametrize("number", [60, 1000])
@pytest.mark.parametrize("kind", ["v1", "v2", "graph"])
def test_it_is_refused_or_harmless(tmp_path, kind, number):
    if kind == "graph":
        path = tmp_path / "x.pb"
        right = graph()
        path.write_bytes(right.SerializeToString())
    else:
        path = (write_v1 if kind == "v1" else write_v2)(tmp_path / "x")
        right = list(sstable.entries(path))
    assert outcome(path, True) == "right"
    counts = Counter()
    for seed in range(number):
        chance = random.Random(f"{kind} {seed}")
        if kind == "graph":
            path.write_bytes(damaged_graph(right, chance))
        else:
            path.write_bytes(table(block((damage_v1 if kind == "v1" else damage_v2)(right, chance))))
        counts[outcome(path, kind != "graph")] += 1
    assert counts["refused"] > number / 2 and counts["right"]
    print(f"\n{kind}: {dict(counts)}")
