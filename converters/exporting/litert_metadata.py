"""Labels and normalization in a ``.tflite`` file, in the metadata that Android's and MediaPipe's tools read.

The metadata are a flatbuffer of their own (``metadata_schema.fbs``, identifier "M001") among the buffers of the model,
under the name ``TFLITE_METADATA``. Files that they name, here ``labels.txt``, are a zip archive after the model.
Interpreters ignore both.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
# Values of the schema's enumerations and unions.
RGB, GRAYSCALE = 1, 2
IMAGE_PROPERTIES, FEATURE_PROPERTIES = 2, 1
NORMALIZATION = 1
AXIS_LABELS = 2


def pack_labels(path: Path, labels: Sequence[str], channels: int, image_range: tuple[float, float]) -> None:
    """Adds labels of the classes to a ``.tflite`` file, and how pixels become the values that it takes.

    Args:
        path: The file.
        labels: A label for each class.
        channels: 3 for RGB, 1 for grayscale.
        image_range: Lowest and highest value of the images; a pixel of 0 is the lowest, and one of 255 the highest.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(channels, image_range), np.uint8)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: the same model gives the same file.
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in labels))


def read_labels_of(path: Path) -> tuple[str, ...]:
    """Returns the labels in a ``.tflite`` file; none if it has none."""
    if not zipfile.is_zipfile(path):
        return ()
    with zipfile.ZipFile(path) as archive:
        return tuple(archive.read(LABELS).decode().splitlines()) if LABELS in archive.namelist() else ()


def _metadata(channels: int, image_range: tuple[float, float]) -> bytes:
    import flatbuffers

    low, high = image_range
    # (pixel - mean) / deviation is the value that the model takes.
    deviation = 255 / (high - low)
    mean = -low * deviation
    builder = flatbuffers.Builder(1024)
    normalization = _table(builder, 2, {0: _floats(builder, [mean]), 1: _floats(builder, [deviation])})
    unit = _table(builder, 2, {1: normalization}, {0: NORMALIZATION})
    image = _table(builder, 2, {}, {0: RGB if channels == 3 else GRAYSCALE})
    content = _table(builder, 3, {1: image}, {0: IMAGE_PROPERTIES})
    stats = _table(builder, 2, {0: _floats(builder, [high]), 1: _floats(builder, [low])})
    units = _tables(builder, [unit])
    source = _table(builder, 7, {0: builder.CreateString("image"), 3: content, 4: units, 5: stats})
    file = _table(builder, 5, {0: builder.CreateString(LABELS)}, {2: AXIS_LABELS})
    files = _tables(builder, [file])
    features = _table(builder, 3, {1: _table(builder, 0, {})}, {0: FEATURE_PROPERTIES})
    result = _table(builder, 7, {0: builder.CreateString("classes"), 3: features, 6: files})
    inputs, outputs = _tables(builder, [source]), _tables(builder, [result])
    subgraphs = _tables(builder, [_table(builder, 9, {2: inputs, 3: outputs})])
    version = builder.CreateString("1.0.0")
    builder.Finish(_table(builder, 8, {3: subgraphs, 7: version}), b"M001")
    return bytes(builder.Output())


def _table(builder, fields: int, offsets: dict[int, int], enums: dict[int, int] | None = None) -> int:
    """Returns a table: offsets of strings, vectors and tables, and bytes, by the number of the field."""
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, value in (enums or {}).items():
        builder.PrependInt8Slot(number, value, 0)
    return builder.EndObject()


def _tables(builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
