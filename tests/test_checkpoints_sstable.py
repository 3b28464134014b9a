"""Tables with valid checksums and invalid content, which would make TensorFlow abort the process."""

import struct

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

import checkpoints
from checkpoints import sstable


def varint(value):
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(data) + bytes([value])


def block(entries):
    """Returns a block without shared prefixes of keys."""
    data = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return data + struct.pack("<II", 0, 1)


def table(*blocks, compression=0, index=None):
    """Returns a table of raw blocks; `index` replaces its index block."""
    data, handles = b"", []
    for content in [*blocks, b"meta index"]:
        handles.append(varint(len(data)) + varint(len(content)))
        data += sealed(content, compression)
    if index is None:
        # TensorFlow looks a key up in the first block whose key here is not before it.
        index = block([(b"\xff%d" % i, handle) for i, handle in enumerate(handles[:-1])])
    footer = handles[-1] + varint(len(data)) + varint(len(index))
    return data + sealed(index, 0) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def sealed(content, compression):
    crc = google_crc32c.value(content + bytes([compression]))
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    return content + bytes([compression]) + struct.pack("<I", masked)


def proto_shape(*lengths):
    shape = tf.TensorShape([]).as_proto()
    for length in lengths:
        shape.dim.add(size=length)
    return shape


HEADER = BundleHeaderProto(num_shards=1, version={"producer": 1})
VALUES = np.float32([1, 2])


def entry(**fields):
    fields = {"dtype": 1, "shape": proto_shape(2), "size": 8, "crc32c": checkpoints.masked_crc32c(VALUES)} | fields
    return BundleEntryProto(**fields).SerializeToString()


def write_v2(folder, *entries, header=HEADER):
    (folder / "x.data-00000-of-00001").write_bytes(VALUES.tobytes())
    first = [] if header is None else [(b"", header.SerializeToString())]
    (folder / "x.index").write_bytes(table(block([*first, *entries])))
    return folder / "x"


def refused(path, message):
    with pytest.raises(checkpoints.CheckpointError, match=message) as info:
        checkpoints.load_variables(path)
    assert str(path) in str(info.value)


def test_tables_of_tensorflow_and_of_this_file_are_read_the_same(tmp_path):
    names = [f"net/layer_{i:05d}/weights" for i in range(20_000)]  # several blocks, and keys that share prefixes
    values = [tf.constant(1.0)] * len(names)
    prefix = str(tmp_path / "x")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    loaded = list(sstable.entries(tmp_path / "x.index"))
    assert [key.decode() for key, _ in loaded] == ["", *names]
    half = len(loaded) // 2
    (tmp_path / "y").write_bytes(table(block(loaded[:half]), block(loaded[half:])))
    assert list(sstable.entries(tmp_path / "y")) == loaded
    assert sstable.is_table(tmp_path / "y") and not sstable.is_table(tmp_path / "z")


def test_a_handmade_checkpoint_is_read(tmp_path):
    loaded = checkpoints.load_variables(write_v2(tmp_path, (b"a", entry())))
    np.testing.assert_array_equal(loaded["a"], VALUES, strict=True)


WRONG = {
    "more values than bytes": ({"shape": proto_shape(3)}, r"damaged: a \(3,\) does not fit its 8 bytes"),
    "fewer values than bytes": ({"shape": proto_shape(1)}, r"damaged: a \(1,\) does not fit its 8 bytes"),
    "terabytes": ({"shape": proto_shape(2**20, 2**20)}, "does not fit its 8 bytes"),
    "terabytes in slices": ({"shape": proto_shape(2**40), "slices": [{"extent": [{}]}]}, "does not fit its 8 bytes"),
    "overflow": ({"shape": proto_shape(2**62, 4)}, "does not fit its 8 bytes"),
    "a negative length": ({"shape": proto_shape(-2)}, "cannot be decoded"),
    "too many dimensions": ({"shape": proto_shape(*[1] * 65)}, "cannot be decoded"),
    "an unknown shape": ({"shape": {"unknown_rank": True}}, "cannot be decoded"),
    "an unknown dtype": ({"dtype": 99}, "cannot be decoded"),
    "no dtype": ({"dtype": 0}, "cannot be decoded"),
    "another shard": ({"shard_id": 1}, "has no valid position in the data"),
    "a negative shard": ({"shard_id": -1}, "has no valid position in the data"),
    "a negative offset": ({"offset": -8}, "has no valid position in the data"),
    "a negative size": ({"size": -8}, "has no valid position in the data"),
    "behind the end": ({"offset": 1}, "is cut short"),
    "another checksum": ({"crc32c": 1}, "a in .* is damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_invalid_entry_is_refused(tmp_path, kind):
    fields, message = WRONG[kind]
    refused(write_v2(tmp_path, (b"a", entry(**fields))), message)


@pytest.mark.parametrize(
    "header",
    [
        None,
        BundleHeaderProto(num_shards=0),
        BundleHeaderProto(num_shards=-1),
        BundleHeaderProto(num_shards=1, endianness=BundleHeaderProto.BIG),
    ],
    ids=str,
)
def test_an_invalid_header_is_refused(tmp_path, header):
    refused(write_v2(tmp_path, (b"a", entry()), header=header), "not the index of a little-endian checkpoint")


def test_the_index_of_a_big_endian_machine_is_refused_with_what_to_do(tmp_path):
    header = BundleHeaderProto(num_shards=1, endianness=BundleHeaderProto.BIG)
    refused(write_v2(tmp_path, (b"a", entry()), header=header), "a big-endian machine wrote it. .* save its arrays")


def test_a_header_with_billions_of_shards_is_refused(tmp_path):
    header = BundleHeaderProto(num_shards=2**31 - 1)
    refused(write_v2(tmp_path, (b"a", entry()), header=header), "data-00000-of-2147483647 is missing")


@pytest.mark.parametrize("key", [b"\xff\xfe", b"a"])
def test_undecodable_names_and_entries_are_refused(tmp_path, key):
    refused(write_v2(tmp_path, (key, entry() if key != b"a" else b"\xff" * 9)), "cannot be decoded")


GOOD = block([(b"", HEADER.SerializeToString()), (b"a", entry())])
TABLES = {
    "a compressed block": (table(GOOD, compression=1), "compressed block"),
    "one block twice": (table(GOOD, index=block([(b"0", varint(0) + varint(len(GOOD)))] * 2)), "inconsistent"),
    "a block behind the end": (table(GOOD, index=block([(b"0", varint(2**40) + varint(9))])), "inconsistent"),
    "an endless number": (table(GOOD, index=block([(b"0", b"\xff" * 20)])), "inconsistent"),
    "keys in disorder": (
        table(block([(b"", HEADER.SerializeToString()), (b"b", entry()), (b"a", entry())])),
        "inconsistent",
    ),
    "a key twice": (
        table(block([(b"", HEADER.SerializeToString()), (b"a", entry()), (b"a", entry())])),
        "inconsistent",
    ),
    "a key shared with nothing": (table(b"\5\0\0" + struct.pack("<II", 0, 1)), "inconsistent"),
    "a value behind the end": (table(b"\0\0\x7f" + struct.pack("<II", 0, 1)), "inconsistent"),
    "more restarts than bytes": (table(struct.pack("<I", 2**31)), "inconsistent"),
    "an empty block": (table(b""), "inconsistent"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_an_invalid_table_is_refused(tmp_path, kind):
    path = write_v2(tmp_path)
    content, message = TABLES[kind]
    (tmp_path / "x.index").write_bytes(content)
    refused(path, message)


def v1(**fields):
    variable = {"name": "a", "type": 1, "shape": proto_shape(2), "slice": [{"extent": [{}]}]} | fields
    return SavedTensorSlices(meta={"tensor": [variable]}).SerializeToString()


V1 = {
    "terabytes": ([(b"", v1(shape=proto_shape(2**40)))], "does not fit a file of this size"),
    "a negative length": ([(b"", v1(shape=proto_shape(-1)))], "cannot be decoded"),
    "an unknown dtype": ([(b"", v1(type=99))], "cannot be decoded"),
    "no list of variables": ([(b"a", b"")], "first entry is not the list of variables"),
    "no entries": ([], "first entry is not the list of variables"),
    "no message": ([(b"", b"\xff" * 9)], "cannot be decoded"),
    "no values": ([(b"", v1())], "a in .* is damaged"),
    "only strings": ([(b"", v1(type=7))], "holds no variables"),
}


@pytest.mark.parametrize("kind", V1)
def test_an_invalid_v1_file_is_refused(tmp_path, kind):
    entries, message = V1[kind]
    (tmp_path / "x").write_bytes(table(block(entries)))
    refused(tmp_path / "x", message)
