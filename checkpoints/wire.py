"""Reads and writes protocol buffers: the messages of `checkpoints.messages`, in the wire format.

The reader takes no more memory than a small multiple of its input. It is stricter than the format asks for, because
TensorFlow's files are written by its own writers: a field of another wire type, a second value of a field that is not
repeated, or a group is damage.
Source: https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from checkpoints.messages import COMPLETE, MESSAGES, Field

MAX_DEPTH = 100  # of nested messages, as in the official parsers
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECE = 1 << 18  # bytes of packed numbers that are decoded at a time
_LIMITS = {"int32": (-(2**31), 2**31), "enum": (-(2**31), 2**31), "uint32": (0, 2**32), "bool": (0, 2)}

Bytes = bytes | bytearray | memoryview


class WireError(ValueError):
    """Bytes are no message of the expected kind."""


class Message:
    """Fields of a message as attributes; one that is absent has its default: 0, empty, or an empty message."""

    def __init__(self, kind: str, fields: Mapping[str, Any]):
        self._kind = kind
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:  # called for absent fields only
        field = MESSAGES[self.__dict__["_kind"]].get(name) if "_kind" in self.__dict__ else None
        if field is None:
            raise AttributeError(name)
        if field.many:
            return ()
        if field.kind in MESSAGES:
            return Message(field.kind, {})
        return {"bytes": b"", "string": ""}.get(field.kind, 0)

    def has(self, name: str) -> bool:
        """Returns whether a field is present."""
        return name in self.__dict__


def varint(data: Bytes, position: int) -> tuple[int, int]:
    """Returns a number of variable length and the position after it.

    Raises:
        WireError: it is longer than ten bytes.
        IndexError: the data end within it.
    """
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number has more than ten bytes")


def to_varint(value: int) -> bytes:
    """Returns a number as one of variable length; a negative one has ten bytes."""
    value &= 2**64 - 1
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def varints(data: Bytes) -> np.ndarray:
    """Returns all numbers of variable length in the data, as uint64."""
    array = np.frombuffer(data, np.uint8)
    if array.size and array[-1] >= 0x80:
        raise WireError("a list of numbers is cut short")
    values = np.empty(np.count_nonzero(array < 0x80), np.uint64)
    done = position = 0
    while position < len(array):
        piece = array[position : position + _PIECE]
        ends = np.flatnonzero(piece < 0x80)
        if not ends.size:
            raise WireError("a number has more than ten bytes")
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts + 1
        if lengths.max() > 10:
            raise WireError("a number has more than ten bytes")
        numbers = np.zeros(len(ends), np.uint64)
        for i in range(lengths.max()):
            longer = lengths > i
            numbers[longer] |= (piece[starts[longer] + i] & 0x7F).astype(np.uint64) << np.uint64(7 * i)
        values[done : done + len(ends)] = numbers
        done += len(ends)
        position += int(ends[-1]) + 1
    return values


def to_varints(values: np.ndarray) -> bytes:
    """Returns integers as numbers of variable length, one after the other."""
    values = values.astype(np.int64).view(np.uint64) if values.dtype.kind != "u" else values.astype(np.uint64)
    pieces = []
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        lengths = np.ones(len(piece), np.int64)
        for i in range(1, 10):
            lengths += piece >= np.uint64(1 << (7 * i))
        starts = np.cumsum(lengths) - lengths
        data = np.empty(lengths.sum(), np.uint8)
        for i in range(lengths.max()):
            longer = lengths > i
            bits = (piece[longer] >> np.uint64(7 * i) & np.uint64(0x7F)).astype(np.uint8)
            data[starts[longer] + i] = bits | np.where(lengths[longer] > i + 1, 0x80, 0).astype(np.uint8)
        pieces.append(data.tobytes())
    return b"".join(pieces)


def fields(data: Bytes) -> Iterator[tuple[int, int, memoryview, int]]:
    """Yields number, wire type, bytes and value of every field; the value counts for numbers of variable length.

    Raises:
        WireError: the data are no message.
    """
    view = memoryview(data)
    position, end = 0, len(view)
    try:
        while position < end:
            tag, position = varint(view, position)
            start, wire, value = position, tag & 7, 0
            if wire == _VARINT:
                value, position = varint(view, position)
            elif wire == _BYTES:
                length, start = varint(view, position)
                position = start + length
            elif wire in (_FIXED32, _FIXED64):
                position += 4 if wire == _FIXED32 else 8
            else:
                raise WireError(f"a field has the wire type {wire}")
            if position > end or not 0 < tag >> 3 < 2**29:
                raise WireError("a field is cut short or has no valid number")
            yield tag >> 3, wire, view[start:position], value
    except IndexError:
        raise WireError("a field is cut short") from None


_BY_NUMBER = {kind: {field.number: (name, field) for name, field in table.items()} for kind, table in MESSAGES.items()}


def parse(kind: str, data: Bytes, depth: int = 0) -> Message:
    """Returns a message; values of type ``bytes`` are views of the data, repeated numbers are arrays.

    Args:
        kind: a name in `MESSAGES`.
        data: the message.
        depth: of the messages around it.

    Raises:
        WireError: the data are no such message.
    """
    if depth > MAX_DEPTH:
        raise WireError(f"more than {MAX_DEPTH} messages are nested")
    values: dict[str, Any] = {}
    numbers = {}
    for number, wire, raw, value in fields(data):
        if number not in _BY_NUMBER[kind]:
            if kind in COMPLETE:
                raise WireError(f"a {kind} has an unknown field")
            continue
        name, field = _BY_NUMBER[kind][number]
        expected = _WIRES.get(field.kind, _BYTES)
        if field.many and expected != _BYTES:
            if wire not in (expected, _BYTES):
                raise WireError(f"{name} has the wire type {wire}")
            numbers[name] = field
            if name in values:
                values[name] = bytearray(values[name]) if isinstance(values[name], memoryview) else values[name]
                values[name] += raw
            else:
                values[name] = raw
            continue
        if wire != expected or (name in values and not field.many):
            raise WireError(f"{name} has the wire type {wire} or two values")
        item = _item(field.kind, raw, value, depth)
        if field.many:
            values.setdefault(name, []).append(item)
        else:
            values[name] = item
    for name, field in numbers.items():
        values[name] = _numbers(field.kind, values[name])
    return Message(kind, values)


_FIXED = {"float": "<f4", "fixed32": "<u4", "double": "<f8"}
_ARRAYS = _FIXED | {"uint32": np.uint64, "uint64": np.uint64}
_WIRES = {"float": _FIXED32, "fixed32": _FIXED32, "double": _FIXED64} | dict.fromkeys(
    ["int32", "int64", "uint32", "uint64", "bool", "enum"], _VARINT
)


def _item(kind: str, raw: memoryview, value: int, depth: int) -> Any:
    if kind in MESSAGES:
        return parse(kind, raw, depth + 1)
    if kind == "bytes":
        return raw
    if kind == "string":
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise WireError("a text is not UTF-8") from None
    if kind in _FIXED:
        return np.frombuffer(raw, _FIXED[kind])[0].item()
    if kind in ("int32", "int64", "enum") and value >= 2**63:
        value -= 2**64
    low, high = _LIMITS.get(kind, (-(2**63), 2**64))
    if not low <= value < high:
        raise WireError(f"{value} is no {kind}")
    return value


def _numbers(kind: str, data: Bytes) -> np.ndarray:
    if kind in _FIXED:
        if len(data) % np.dtype(_FIXED[kind]).itemsize:
            raise WireError("a list of numbers is cut short")
        return np.frombuffer(data, _FIXED[kind])
    values = varints(data)
    return values.view(np.int64) if kind in ("int32", "int64") else values


def serialize(kind: str, content: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a message.

    Args:
        kind: a name in `MESSAGES`.
        content: values by name. A message is a mapping, a repeated field a sequence; repeated numbers are an array.
            Numbers that are 0 are left out, as their default is 0; an empty message is written.

    Example:
        serialize("VersionDef", {"producer": 1})
    """
    pieces: list[bytes] = []
    for name, field in sorted(MESSAGES[kind].items(), key=lambda item: item[1].number):
        if name in content:
            pieces += _serialized(field, content[name])
    return b"".join(pieces)


def _serialized(field: Field, value: Any) -> Iterator[bytes]:
    wire = _WIRES.get(field.kind, _BYTES)
    if field.many and wire != _BYTES:
        array = value if isinstance(value, np.ndarray) else np.array(value, _ARRAYS.get(field.kind, np.int64))
        packed = array.astype(_FIXED[field.kind], copy=False).tobytes() if field.kind in _FIXED else to_varints(array)
        yield from (to_varint(field.number << 3 | _BYTES), to_varint(len(packed)), packed)
        return
    for item in value if field.many else [value]:
        if wire == _BYTES:
            data = serialize(field.kind, item) if field.kind in MESSAGES else item
            data = data.encode() if isinstance(data, str) else data
            yield from (to_varint(field.number << 3 | _BYTES), to_varint(len(data)), data)
        elif item or field.many:
            body = to_varint(int(item)) if wire == _VARINT else struct.pack("<I", item)
            yield from (to_varint(field.number << 3 | wire), body)
