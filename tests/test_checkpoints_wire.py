"""Protocol buffers, their tables of fields and types, Snappy and state files, compared with other implementations."""

import importlib
import struct

import numpy as np
import pyarrow
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st

import checkpoints
from checkpoints import snappy, sstable, state_file, wire
from checkpoints.dtypes import DATA_TYPES, NOT_NUMERIC
from checkpoints.messages import COMPLETE, MESSAGES
from tests.test_checkpoints_sstable import block, sealed, table, varint

for module in ("saved_tensor_slice", "tensor_slice", "saved_object_graph", "trackable_object_graph"):
    for package in ("util", "framework", "protobuf"):
        try:
            importlib.import_module(f"tensorflow.core.{package}.{module}_pb2")
        except ModuleNotFoundError:
            continue


def official(kind):
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"tensorflow.{kind}"))


SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{kind.upper()}"): kind
    for kind in ("double", "float", "int64", "uint64", "int32", "fixed32", "bool", "string", "bytes", "uint32", "enum")
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_the_fields_are_those_of_tensorflow(kind):
    descriptor = official(kind).DESCRIPTOR
    for name, field in MESSAGES[kind].items():
        theirs = descriptor.fields_by_name[name]
        type = SCALARS.get(theirs.type, "message")
        if type == "message":
            type = theirs.message_type.full_name.removeprefix("tensorflow.")
        is_repeated = theirs.is_repeated if hasattr(theirs, "is_repeated") else theirs.label == theirs.LABEL_REPEATED
        assert (theirs.number, type, is_repeated) == field, name


@pytest.mark.parametrize("kind", sorted(COMPLETE))
def test_messages_without_unknown_fields_list_all(kind):
    handles = {"resource_handle_val", "variant_val"}  # values that no array has
    assert {field.name for field in official(kind).DESCRIPTOR.fields} - handles == set(MESSAGES[kind])


def test_the_types_are_those_of_tensorflow():
    for number in range(1, 100):
        try:
            expected = tf.as_dtype(number)
            dtype = np.dtype(expected.as_numpy_dtype)
        except (TypeError, KeyError):
            assert number not in DATA_TYPES
            continue
        if number in NOT_NUMERIC:
            assert number not in DATA_TYPES
        else:
            assert DATA_TYPES[number].dtype == dtype, number


NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=50)


@given(NUMBERS)
def test_numbers_of_variable_length(numbers):
    data = b"".join(map(varint, numbers))
    assert wire.varints(data).tolist() == numbers
    assert wire.to_varints(np.array(numbers, np.uint64)) == data
    assert b"".join(map(wire.to_varint, numbers)) == data


def test_many_numbers_of_variable_length():
    numbers = np.random.default_rng(0).integers(0, 2**63, 300_000) >> np.arange(300_000) % 63
    data = wire.to_varints(numbers)
    assert wire.varints(data).tolist() == numbers.tolist()
    assert list(official("TensorProto").FromString(b"\x52" + varint(len(data)) + data).int64_val) == numbers.tolist()


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\x80" * 10 + b"\x01", b"\x80" * 300_000])
def test_numbers_that_are_none(data):
    with pytest.raises(wire.WireError):
        wire.varints(data)


FLOATS = st.floats(width=32, allow_nan=False)
INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.integers(1, 40),
        "tensor_content": st.binary(),
        "float_val": st.lists(FLOATS),
        "double_val": st.lists(st.floats(allow_nan=False)),
        "int_val": st.lists(INT32),
        "int64_val": st.lists(INT64),
        "uint64_val": st.lists(st.integers(0, 2**64 - 1)),
        "bool_val": st.lists(st.booleans()),
        "string_val": st.lists(st.binary(), min_size=1),
        "tensor_shape": st.builds(lambda sizes: {"dim": [{"size": n} for n in sizes]}, st.lists(INT64)),
    },
)


@settings(deadline=None)
@given(TENSORS)
def test_a_tensor_is_written_and_read_as_by_the_official_library(content):
    theirs = official("TensorProto")(**content)
    for data in (theirs.SerializeToString(), wire.serialize("TensorProto", content)):
        assert official("TensorProto").FromString(data) == theirs
        ours = wire.parse("TensorProto", data)
        for name, value in content.items():
            if name == "tensor_shape":
                assert [dim.size for dim in ours.tensor_shape.dim] == [dim["size"] for dim in value["dim"]]
            else:
                found = getattr(ours, name)
                assert (list(found) if isinstance(value, list) else found) == value, name


def test_repeated_numbers_that_are_not_packed():
    data = b"\x08\x01" + b"\x38\x05" + b"\x3a\x02\x06\x07" + b"\x38\x08"
    assert list(official("TensorProto").FromString(data).int_val) == [5, 6, 7, 8]
    assert wire.parse("TensorProto", data).int_val.tolist() == [5, 6, 7, 8]
    floats = b"".join(b"\x2d" + struct.pack("<f", n) for n in (1, 2, 3))
    assert wire.parse("TensorProto", floats).float_val.tolist() == [1, 2, 3]


def has_fields_that_we_skip(kind, data):
    """Whether the official library checks the content of a field that ours skips."""
    fields = {field.number: field for field in MESSAGES[kind].values()}
    return any(
        known.field_number not in fields
        or (
            fields[known.field_number].kind in MESSAGES
            and has_fields_that_we_skip(fields[known.field_number].kind, known.data)
        )
        for known in UnknownFieldSet(Empty.FromString(data))
    )


@settings(deadline=None, max_examples=500)
@example("GraphDef", b"\x2a\x09" + bytes(9))  # debug_info, which has no field 0
@example("GraphDef", b"\x0a\x04\x32\x02\x00\x00")  # the same of a node
@given(st.sampled_from(["TensorProto", "GraphDef", "BundleEntryProto", "SavedTensorSlices"]), st.binary(max_size=30))
def test_what_is_read_of_any_bytes_is_what_the_official_library_reads(kind, data):
    try:
        ours = wire.parse(kind, data)
    except wire.WireError:
        return
    try:
        theirs = official(kind).FromString(data)
    except DecodeError:
        assert has_fields_that_we_skip(kind, data)
        return
    for name, field in MESSAGES[kind].items():
        if field.kind in ("int32", "int64", "bytes", "string") and not field.many:
            assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("TensorProto", b"\xa2\x06\x00"),  # field 100
        ("TensorProto", b"\x08\x01\x08\x01"),  # two dtypes
        ("TensorProto", b"\x0a\x01\x01"),  # a dtype of bytes
        ("TensorProto", b"\x22\x05abc"),  # cut short
        ("GraphDef", b"\x0b\x0c"),  # a group
        ("GraphDef", b"\x02\x00"),  # field 0
        ("NodeDef", b"\x0a\x02\xff\xfe"),  # a name that is not UTF-8
        ("TensorProto", b"\x2a\x03abc"),  # three bytes of floats
    ],
)
def test_messages_that_are_refused(kind, data):
    with pytest.raises(wire.WireError):
        wire.parse(kind, data)


def test_nested_messages_end():
    data = b""
    for _ in range(200):  # a list in a list
        data = b"\x9a\x03" + wire.to_varint(len(inner := b"\x0a" + wire.to_varint(len(data)) + data)) + inner
    with pytest.raises(wire.WireError, match="nested"):
        wire.parse("StructuredValue", data)
    with pytest.raises(DecodeError):
        official("StructuredValue").FromString(data)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300) | st.integers(1, 500), max_size=30))
def test_snappy(parts):
    data = b""
    for part in parts:  # new bytes, or what is before repeated
        data += part if isinstance(part, bytes) else (data[-part:] * 9)[:2000]
    assert snappy.decompress(pyarrow.compress(data, codec="snappy", asbytes=True)) == data


def test_snappy_of_long_data():
    data = bytes(200_000) + np.random.default_rng(0).bytes(200_000) + b"abc" * 50_000
    assert snappy.decompress(pyarrow.compress(data, codec="snappy", asbytes=True)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x05",
        b"\xff\xff\xff\xff\x0f\x00a",
        b"\x01\x00",
        b"\x04\x05\x01",
        b"\x02\x00a\x01\x00",
        b"\x00\x00a",
    ],
)
def test_snappy_that_is_damaged(data):
    with pytest.raises(ValueError, match=r"data|cut short"):
        snappy.decompress(data)


def compressed(content):
    return pyarrow.compress(content, codec="snappy", asbytes=True)


@pytest.mark.parametrize("version", [1, 2])
def test_compressed_tables_are_read(tmp_path, version):
    variables = {f"a/{i:03d}": np.full(100, i, np.float32) for i in range(50)}
    checkpoints.save_checkpoint(variables, tmp_path / "x", version)
    path = tmp_path / ("x" if version == 1 else "x.index")
    items = list(sstable.entries(path))
    blocks = [compressed(block(items[:20])), compressed(block(items[20:]))]
    data, handles = b"", []
    for content in blocks:
        handles.append(varint(len(data)) + varint(len(content)))
        data += sealed(content, 1)
    index = block([(items[19][0], handles[0]), (items[-1][0], handles[1])])
    meta = varint(len(data)) + varint(8)
    data += sealed(block([]), 0)
    footer = meta + varint(len(data)) + varint(len(index))
    path.write_bytes(data + sealed(index, 0) + footer.ljust(40, b"\0") + sstable.MAGIC)
    loaded = checkpoints.load_variables(tmp_path / "x")
    assert list(loaded) == list(variables)
    assert all(loaded[name].tobytes() == variables[name].tobytes() for name in variables)
    theirs = tf.train.load_checkpoint(str(tmp_path / "x"))
    assert theirs.get_tensor("a/049").tobytes() == variables["a/049"].tobytes()


@pytest.mark.parametrize("kind", [2, 255])
def test_an_unknown_compression_is_refused(tmp_path, kind):
    (tmp_path / "x").write_bytes(table(block([(b"", b"")]), compression=kind))
    with pytest.raises(checkpoints.CheckpointError, match="compressed block of the unknown kind"):
        checkpoints.load_variables(tmp_path / "x")


STATES = [
    'model_checkpoint_path: "x-1"',
    'model_checkpoint_path: "/a/b/x-1"\nall_model_checkpoint_paths: "x-0"\nall_model_checkpoint_paths: "x-1"\n',
    "# comment\nmodel_checkpoint_path:'x-1'  # one more\nall_model_checkpoint_timestamps: 1.5e9\n",
    'model_checkpoint_path: "x" "-1"\nlast_preserved_timestamp: -2',
    r'model_checkpoint_path: "\303\274\x41\"\\\n"',
    'model_checkpoint_path: "ü"',
    'model_checkpoint_path: "" ',
    'all_model_checkpoint_paths: "x-1"',
    "",
    "not a protocol buffer",
    'model_checkpoint_path: "x',
    "model_checkpoint_path: 5",
    'model_checkpoint_path "x"',
    'unknown: "x"',
]


@pytest.mark.parametrize("text", STATES)
def test_state_files(tmp_path, text):
    (tmp_path / "checkpoint").write_text(text)
    try:
        state = tf.train.get_checkpoint_state(str(tmp_path))
    except ValueError:  # no path in it
        state = None
    expected = state and state.model_checkpoint_path
    found = state_file.newest_checkpoint(tmp_path / "checkpoint")
    # TensorFlow puts the folder in front of a relative path.
    assert found == expected or str(tmp_path / (found or "")) == expected


def test_state_files_that_tensorflow_writes(tmp_path):
    for name in ("x-1", "with ' and \" and \\", "ümlaut\n"):
        tf.compat.v1.train.update_checkpoint_state(str(tmp_path), name, ["y", name])
        assert state_file.newest_checkpoint(tmp_path / "checkpoint") == name
    assert state_file.newest_checkpoint(tmp_path / "missing") is None
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe")
    assert state_file.newest_checkpoint(tmp_path / "checkpoint") is None
