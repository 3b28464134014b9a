"""Decompresses Snappy, with which early versions of TensorFlow compress blocks of V1 checkpoints.

Source: https://github.com/google/snappy/blob/main/format_description.txt
"""

from checkpoints.wire import varint

# No element expands more: three bytes that copy 64.
MAX_RATIO = 22


def decompress(data: bytes) -> bytes:
    """Returns the data of a raw Snappy stream, which has no checksum of its own.

    Raises:
        ValueError: the stream is damaged, or claims more than it can hold.
    """
    try:
        size, position = varint(data, 0)
        if size > MAX_RATIO * len(data):
            raise ValueError("the length is more than the data can hold")
        output = bytearray()
        while position < len(data):
            tag = data[position]
            position += 1
            kind, length, offset = tag & 3, (tag >> 2) + 1, 0
            if kind == 0:  # a literal; from 61 on the length follows in one to four bytes
                if length > 60:
                    width = length - 60
                    length = int.from_bytes(data[position : position + width], "little") + 1
                    position += width
                if position + length > len(data):
                    raise ValueError("a literal is cut short")
                output += data[position : position + length]
                position += length
            elif kind == 1:
                length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[position]
                position += 1
            else:
                width = 2 if kind == 2 else 4
                offset = int.from_bytes(data[position : position + width], "little")
                position += width
            if kind:
                if not 0 < offset <= len(output):
                    raise ValueError("a copy begins before the data")
                start = len(output) - offset
                piece = output[start : start + length]
                # A copy may overlap its own output, which repeats the piece.
                output += (piece * (length // len(piece) + 1))[:length]
            if len(output) > size:
                raise ValueError("the data are longer than their length says")
    except IndexError:
        raise ValueError("the data are cut short") from None
    if position != len(data) or len(output) != size:
        raise ValueError("the data do not have the length that they say")
    return bytes(output)
