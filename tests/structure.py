"""Mutants of what a file says, written again with right checksums: of protocol buffers, of JSON and of lists."""

import copy
import json
import random

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUMBERS = (0, 1, -1, 2, 3, 7, 20, 21, 101, 255, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    "",
    "x",
    "zz[/b]",
    "\x1b[31m",
    "a\nb",
    "a\0b",
    "../x",
    "/etc/passwd",
    "n" * 5000,
    "MobilenetV1/Logits",
    "\u202e",
)
VALUES = (None, True, False, [], {}, [[]], 1.5, float("nan"), float("inf"), 10**30, *NUMBERS, *TEXTS)
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
}


def mutate_message(message: Message, choose: random.Random) -> None:
    """Changes one field somewhere in a message: another value, none, a second one, or a copy of a neighbour."""
    while True:
        present = message.ListFields()
        deeper = [(field, value) for field, value in present if field.message_type and not _is_map_of_scalars(field)]
        if deeper and choose.random() < 0.85:
            field, value = choose.choice(deeper)
            parts = _messages(field, value)
            if parts:
                message = choose.choice(parts)
                continue
        if not message.DESCRIPTOR.fields:  # an empty message, such as the nothing of a structured value
            return
        field = choose.choice(message.DESCRIPTOR.fields)
        _change(message, field, choose)
        return


def _is_map_of_scalars(field: FieldDescriptor) -> bool:
    entry = field.message_type
    return bool(entry and entry.GetOptions().map_entry and not entry.fields_by_name["value"].message_type)


def _messages(field: FieldDescriptor, value) -> list[Message]:
    if field.message_type.GetOptions().map_entry:
        return [value[key] for key in value]
    return list(value) if field.is_repeated else [value]


def _change(message: Message, field: FieldDescriptor, choose: random.Random) -> None:
    how = choose.random()
    if how < 0.25 or (field.message_type and field.message_type.GetOptions().map_entry):
        message.ClearField(field.name)
    elif field.is_repeated:
        values = getattr(message, field.name)
        if field.message_type:
            if values and how < 0.6:
                values.add().CopyFrom(choose.choice(list(values)))
            elif values and how < 0.8:
                del values[choose.randrange(len(values))]
            else:
                values.add()
        elif values and how < 0.6:
            values[choose.randrange(len(values))] = _scalar(field, choose)
        else:
            values.extend(_scalar(field, choose) for _ in range(choose.choice((1, 3, 100))))
    elif field.message_type:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, choose))


def _scalar(field: FieldDescriptor, choose: random.Random):
    if field.cpp_type in INTEGERS:
        low, high = INTEGERS[field.cpp_type]
        return choose.choice([number for number in NUMBERS if low <= number < high])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return choose.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = choose.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    return choose.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))


def mutated_json(value: object, choose: random.Random) -> str:
    """Returns a JSON text in which one place has another value, is missing, is there twice or is nested."""
    value = copy.deepcopy(value)
    parent, key, place = None, None, value
    while isinstance(place, dict | list) and place and (parent is None or choose.random() < 0.8):
        parent = place
        key = choose.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place = parent[key]
    how = choose.random()
    if parent is None or how < 0.02:
        return "[" * 100_000
    if how < 0.2:
        del parent[key]
    elif how < 0.3 and isinstance(parent, dict):
        parent[choose.choice(TEXTS)] = parent.pop(key)
    elif how < 0.35:
        parent[key] = [[[[place]]]]
    else:
        parent[key] = choose.choice(VALUES)
    return json.dumps(value)


def mutated_lines(lines: list[str], choose: random.Random) -> bytes:
    """Returns a list in which one line is another, is missing, or is followed by bytes that are no text."""
    lines = list(lines)
    number, how = choose.randrange(len(lines)), choose.random()
    if how < 0.3:
        del lines[number]
    elif how < 0.9:
        lines[number] = choose.choice(TEXTS) + choose.choice(("", " 5", "\t-1", " 9999999999999"))
    end = choose.choice((b"", b"\n", b"\r\n", b"\xff\xfe", b"\0"))
    return "\n".join(lines).encode() + end
