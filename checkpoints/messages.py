"""The protocol buffer messages in TensorFlow's files: the fields that are read or written, with their numbers.

Names and numbers are those of TensorFlow's ``.proto`` files (``core/framework``, ``core/protobuf``, ``core/util``); a
test compares them with its descriptors. A field that is not listed is skipped, except in the messages of `COMPLETE`.
"""

from typing import NamedTuple


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: its number.
        kind: a scalar type of protocol buffers, "enum", or the name of a message.
        many: whether it is repeated; a map is a repeated message with the fields ``key`` and ``value``.
    """

    number: int
    kind: str
    many: bool = False


def _many(number: int, kind: str) -> Field:
    return Field(number, kind, many=True)


def _map(message: str) -> dict[str, Field]:
    return {"key": Field(1, "string"), "value": Field(2, message)}


MESSAGES: dict[str, dict[str, Field]] = {
    # Tensors.
    "TensorShapeProto": {"dim": _many(2, "TensorShapeProto.Dim"), "unknown_rank": Field(3, "bool")},
    "TensorShapeProto.Dim": {"size": Field(1, "int64"), "name": Field(2, "string")},
    "TensorProto": {
        "dtype": Field(1, "enum"),
        "tensor_shape": Field(2, "TensorShapeProto"),
        "version_number": Field(3, "int32"),
        "tensor_content": Field(4, "bytes"),
        "float_val": _many(5, "float"),
        "double_val": _many(6, "double"),
        "int_val": _many(7, "int32"),
        "string_val": _many(8, "bytes"),
        "scomplex_val": _many(9, "float"),
        "int64_val": _many(10, "int64"),
        "bool_val": _many(11, "bool"),
        "dcomplex_val": _many(12, "double"),
        "half_val": _many(13, "int32"),
        "uint32_val": _many(16, "uint32"),
        "uint64_val": _many(17, "uint64"),
        "float8_val": Field(18, "bytes"),
    },
    "TensorSliceProto": {"extent": _many(1, "TensorSliceProto.Extent")},
    "TensorSliceProto.Extent": {"start": Field(1, "int64"), "length": Field(2, "int64")},
    "VersionDef": {"producer": Field(1, "int32"), "min_consumer": Field(2, "int32")},
    # Checkpoints in V2 format.
    "BundleHeaderProto": {
        "num_shards": Field(1, "int32"),
        "endianness": Field(2, "enum"),
        "version": Field(3, "VersionDef"),
    },
    "BundleEntryProto": {
        "dtype": Field(1, "enum"),
        "shape": Field(2, "TensorShapeProto"),
        "shard_id": Field(3, "int32"),
        "offset": Field(4, "int64"),
        "size": Field(5, "int64"),
        "crc32c": Field(6, "fixed32"),
        "slices": _many(7, "TensorSliceProto"),
    },
    # Checkpoints in V1 format.
    "SavedTensorSlices": {"meta": Field(1, "SavedTensorSliceMeta"), "data": Field(2, "SavedSlice")},
    "SavedTensorSliceMeta": {"tensor": _many(1, "SavedSliceMeta"), "versions": Field(2, "VersionDef")},
    "SavedSliceMeta": {
        "name": Field(1, "string"),
        "shape": Field(2, "TensorShapeProto"),
        "type": Field(3, "enum"),
        "slice": _many(4, "TensorSliceProto"),
    },
    "SavedSlice": {
        "name": Field(1, "string"),
        "slice": Field(2, "TensorSliceProto"),
        "data": Field(3, "TensorProto"),
    },
    # Graphs.
    "GraphDef": {"node": _many(1, "NodeDef")},
    "NodeDef": {
        "name": Field(1, "string"),
        "op": Field(2, "string"),
        "input": _many(3, "string"),
        "attr": _many(5, "NodeDef.AttrEntry"),
    },
    "NodeDef.AttrEntry": _map("AttrValue"),
    "AttrValue": {
        "list": Field(1, "AttrValue.ListValue"),
        "s": Field(2, "bytes"),
        "f": Field(4, "float"),
        "b": Field(5, "bool"),
        "type": Field(6, "enum"),
        "shape": Field(7, "TensorShapeProto"),
        "tensor": Field(8, "TensorProto"),
    },
    "AttrValue.ListValue": {"i": _many(3, "int64")},
    # SavedModels.
    "SavedModel": {"meta_graphs": _many(2, "MetaGraphDef")},
    "MetaGraphDef": {
        "graph_def": Field(2, "GraphDef"),
        "signature_def": _many(5, "MetaGraphDef.SignatureDefEntry"),
        "object_graph_def": Field(7, "SavedObjectGraph"),
    },
    "MetaGraphDef.SignatureDefEntry": _map("SignatureDef"),
    "SignatureDef": {"inputs": _many(1, "SignatureDef.InputsEntry")},
    "SignatureDef.InputsEntry": _map("TensorInfo"),
    "TensorInfo": {"tensor_shape": Field(3, "TensorShapeProto")},
    "SavedObjectGraph": {
        "nodes": _many(1, "SavedObject"),
        "concrete_functions": _many(2, "SavedObjectGraph.ConcreteFunctionsEntry"),
    },
    "SavedObjectGraph.ConcreteFunctionsEntry": _map("SavedConcreteFunction"),
    "SavedObject": {
        "children": _many(1, "TrackableObjectGraph.TrackableObject.ObjectReference"),
        "function": Field(6, "SavedFunction"),
    },
    "SavedFunction": {"concrete_functions": _many(1, "string")},
    "SavedConcreteFunction": {"canonicalized_input_signature": Field(3, "StructuredValue")},
    "StructuredValue": {
        "tensor_spec_value": Field(33, "TensorSpecProto"),
        "list_value": Field(51, "ListValue"),
        "tuple_value": Field(52, "TupleValue"),
        "dict_value": Field(53, "DictValue"),
    },
    "TensorSpecProto": {"shape": Field(2, "TensorShapeProto")},
    "ListValue": {"values": _many(1, "StructuredValue")},
    "TupleValue": {"values": _many(1, "StructuredValue")},
    "DictValue": {"fields": _many(1, "DictValue.FieldsEntry")},
    "DictValue.FieldsEntry": _map("StructuredValue"),
    # The objects of a checkpoint of TensorFlow 2.
    "TrackableObjectGraph": {"nodes": _many(1, "TrackableObjectGraph.TrackableObject")},
    "TrackableObjectGraph.TrackableObject": {
        "children": _many(1, "TrackableObjectGraph.TrackableObject.ObjectReference"),
        "attributes": _many(2, "TrackableObjectGraph.TrackableObject.SerializedTensor"),
    },
    "TrackableObjectGraph.TrackableObject.ObjectReference": {
        "node_id": Field(1, "int32"),
        "local_name": Field(2, "string"),
    },
    "TrackableObjectGraph.TrackableObject.SerializedTensor": {
        "name": Field(1, "string"),
        "full_name": Field(2, "string"),
        "checkpoint_key": Field(3, "string"),
    },
}

# Messages in which an unknown field is damage: these could be values whose field number is wrong.
COMPLETE = frozenset({"TensorProto", "TensorShapeProto", "TensorShapeProto.Dim", "TensorSliceProto"})
