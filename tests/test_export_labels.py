"""The contract of an export, and labels that are packed in LiteRT files."""

import json
import struct
import zipfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import converters
from converters.cli import main
from converters.exporting.litert_metadata import NAME, _metadata, read_labels_of
from tests.embedding_job import write_model

LABELS = ("red", "green blue", "weiß", "4", "5")


def field(data, table, number):
    """Where a field of a table of a flatbuffer is; None if it is not there."""
    start = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, start)[0]
    offset = struct.unpack_from("<H", data, start + 4 + 2 * number)[0] if 4 + 2 * number < size else 0
    return table + offset if offset else None


def follow(data, place):
    return place + struct.unpack_from("<I", data, place)[0]


def table(data, parent, number):
    return follow(data, field(data, parent, number))


def only(data, parent, number):
    """The only table in a vector of tables."""
    vector = table(data, parent, number)
    assert struct.unpack_from("<I", data, vector)[0] == 1
    return follow(data, vector + 4)


def number_in(data, parent, number):
    vector = table(data, parent, number)
    return struct.unpack_from("<If", data, vector)


def text(data, parent, number):
    place = table(data, parent, number)
    (length,) = struct.unpack_from("<I", data, place)
    return data[place + 4 : place + 4 + length].decode()


@pytest.mark.parametrize(
    ("image_range", "mean", "deviation"), [((0.0, 1.0), 0, 255), ((-1.0, 1.0), 127.5, 127.5), ((0.0, 255.0), 0, 1)]
)
@pytest.mark.parametrize(("channels", "colours"), [(3, 1), (1, 2)])
def test_the_metadata_by_their_schema(image_range, mean, deviation, channels, colours):
    """Read by the numbers of the fields in the published schema, `metadata_schema.fbs`."""
    data = _metadata(channels, image_range)
    assert data[4:8] == b"M001"
    root = follow(data, 0)
    subgraph = only(data, root, 3)
    source, result = only(data, subgraph, 2), only(data, subgraph, 3)
    content = table(data, source, 3)
    assert data[field(data, content, 0)] == 2  # ImageProperties
    assert data[field(data, table(data, content, 1), 0)] == colours
    unit = only(data, source, 4)
    assert data[field(data, unit, 0)] == 1  # NormalizationOptions
    assert number_in(data, table(data, unit, 1), 0) == (1, mean)
    assert number_in(data, table(data, unit, 1), 1) == (1, deviation)
    assert number_in(data, table(data, source, 5), 0) == (1, image_range[1])
    file = only(data, result, 6)
    assert text(data, file, 0) == "labels.txt"
    assert data[field(data, file, 2)] == 2  # TENSOR_AXIS_LABELS


def test_packed_labels_and_the_contract(tmp_path):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = write_model(tmp_path / "model.keras", num_classes=5)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    path = tmp_path / "model.tflite"
    arguments = ["export", str(model), str(path), "--format", "litert", "--labels", str(tmp_path / "labels.txt")]
    written = CliRunner().invoke(main, [*arguments, "--json"])
    assert written.exit_code == 0, written.output
    facts = json.loads(written.stdout)
    assert facts["labels"] == 5 and facts["output"] == "logits" and facts["output_shape"] == [None, 5]
    assert facts["input_shape"] == [None, 64, 64, 3] and facts["runtime"].startswith("ai-edge-litert")
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    assert list(run.get_input_details()) == [facts["input_name"]]
    assert list(run.get_output_details()) == [facts["output_name"]]
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
    assert read_labels_of(path) == LABELS
    held = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = [entry for entry in held.metadata if entry.name.decode() == NAME]
    assert bytes(held.buffers[entry.buffer].data) == _metadata(3, (0.0, 1.0))
    text = CliRunner().invoke(main, [*arguments, "--force"]).stdout
    assert f'takes images "{facts["input_name"]}" any x64x64x3' in text.replace("anyx", "any x")
    assert f'gives logits "{facts["output_name"]}"' in text and "5 labels are packed in it" in text


@pytest.mark.parametrize(
    ("labels", "format", "sentence"),
    [
        (("a", "b"), "litert", "There are 2 labels"),
        (("a\nb", "c", "d"), "litert", "line break"),
        (("a", "b", "c"), "onnx", "not in onnx"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, format, sentence):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(converters.ConversionError, match=sentence):
        converters.export(model, tmp_path / f"m.{'tflite' if format == 'litert' else 'onnx'}", format, labels=labels)
    assert not np.any([path.name.startswith("m") for path in tmp_path.iterdir()])


def test_the_ends_of_an_onnx_file_are_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    model = keras.saving.load_model(write_model(tmp_path / "m.keras", num_classes=5))
    export = converters.export(model, tmp_path / "m.onnx", "onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert (export.input_name, export.output_name) == (graph.input[0].name, "output_0")
    for end in (graph.input[0], graph.output[0]):
        assert end.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert 'gives logits "output_0" anyx5' in str(export)
