"""The file ``checkpoint`` of a folder of checkpoints, which names the newest one."""

import re
from pathlib import Path

MAX_BYTES = 1 << 24
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<name>[A-Za-z_]\w*)|(?P<colon>:)|(?P<number>[-+.\w]+)|[,;]
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))")
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_TEXTS = {"model_checkpoint_path", "all_model_checkpoint_paths"}
_NUMBERS = {"all_model_checkpoint_timestamps", "last_preserved_timestamp"}


def newest_checkpoint(path: Path) -> str | None:
    """Returns what a state file names as the newest checkpoint, or None if it cannot be read.

    The file is a ``CheckpointState`` (TensorFlow's ``python/training/checkpoint_state.proto``) in text format.
    """
    try:
        with open(path, "rb") as stream:
            text = stream.read(MAX_BYTES).decode()
        return _fields(text).get("model_checkpoint_path") or None
    except (OSError, ValueError):
        return None


def _fields(text: str) -> dict[str, str]:
    """Returns the last text of each field."""
    tokens = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if not token:
            raise ValueError("no text format")
        position = token.end()
        if token.lastgroup:
            tokens.append((token.lastgroup, token[0]))
    values = {}
    while tokens:
        if len(tokens) < 3 or tokens[0][0] != "name" or tokens[1][0] != "colon":
            raise ValueError("no field")
        name, parts = tokens[0][1], []
        del tokens[:2]
        if name in _NUMBERS and tokens[0][0] == "number":
            float(tokens.pop(0)[1])
            continue
        while tokens and tokens[0][0] == "text":  # neighbouring texts are one
            parts.append(_unescaped(tokens.pop(0)[1][1:-1]))
        if name not in _TEXTS or not parts:
            raise ValueError("no known field")
        values[name] = b"".join(parts).decode()
    return values


def _unescaped(text: str) -> bytes:
    def value(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        return bytes([int(hexadecimal, 16)]) if hexadecimal else _LETTERS.get(letter, letter)

    return _ESCAPE.sub(value, text.encode())
