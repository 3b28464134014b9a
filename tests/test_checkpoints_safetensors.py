"""Files of safetensors: what the metadata has, files of other programs, and damaged ones."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import checkpoints
from tests.oracle.recipes import made_up_variables

VARIABLES = {
    "MobilenetV1/Conv2d_0/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "global_step": np.int64(3),
}
ENTRIES = ("format", "version", "masked_crc32c", "contents")


def header_of(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def rewrite_metadata(path, **changes):
    """Writes the file again with other metadata, None for an entry to lose, by the format's own library."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = {name: value for name, value in {**file.metadata(), **changes}.items() if value is not None}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)


def test_the_metadata_has_a_checksum_for_each_variable(tmp_path):
    checkpoints.save_safetensors(VARIABLES, tmp_path / "x.safetensors")
    metadata = header_of(tmp_path / "x.safetensors")["__metadata__"]
    checksums = {name: checkpoints.masked_crc32c(np.asarray(value)) for name, value in VARIABLES.items()}
    assert json.loads(metadata["masked_crc32c"]) == checksums
    assert (metadata["format"], metadata["version"]) == ("slim variables", "1")


@pytest.mark.parametrize("name", ["x.safetensors", "no suffix", "x.bin"])
def test_the_format_is_recognised_by_content(tmp_path, name):
    checkpoints.save_safetensors(VARIABLES, tmp_path / name)
    with checkpoints.open_variables(tmp_path / name) as variables:
        assert (variables.format, variables.checked) == ("safetensors", True)
        assert variables.files == (tmp_path / name,)
        assert variables.shapes["MobilenetV1/Conv2d_0/weights"] == (3, 3, 3, 2)


def test_a_file_of_another_program_is_read_and_has_no_checksums(tmp_path):
    expected = made_up_variables({"a/weights": (3, 3, 8, 4), "b": (5,)})
    safetensors.numpy.save_file(expected, tmp_path / "x.safetensors")
    with checkpoints.open_variables(tmp_path / "x.safetensors") as variables:
        assert not variables.checked
        assert all(np.array_equal(variables[name], array) for name, array in expected.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2"}, "version 2 of its format, but only 1 is supported"),
        ({"masked_crc32c": "{}"}, "the checksum of its list of variables does not match"),
        ({"masked_crc32c": "["}, "the checksum of its list of variables does not match"),
        ({"masked_crc32c": "[1, 2]"}, "the checksum of its list of variables does not match"),
        ({"contents": "0"}, "the checksum of its list of variables does not match"),
        *(({name: None}, "the checksum of its list of variables does not match") for name in ENTRIES),
        ({"format": None, "version": None, "contents": None}, "the checksum of its list of variables does not match"),
        ({"version": None, "masked_crc32c": None, "contents": None}, "the checksum of its list of variables does not"),
    ],
)
def test_wrong_metadata(tmp_path, changes, message):
    path = tmp_path / "x.safetensors"
    checkpoints.save_safetensors(VARIABLES, path)
    rewrite_metadata(path, **changes)
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.open_variables(path)


def test_a_changed_value_is_an_error_that_names_the_variable(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoints.save_safetensors(VARIABLES, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(checkpoints.CheckpointError, match=r"is damaged or cut short: its checksum does not match"):
        checkpoints.load_variables(path)


def test_two_variables_that_changed_places(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoints.save_safetensors({"a": np.float32([1]), "b": np.float32([2])}, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"a":', b'"c":').replace(b'"b":', b'"a":').replace(b'"c":', b'"b":'))
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.load_variables(path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_dtypes_that_numpy_lacks(tmp_path, dtype):
    size = 4 if dtype == "BF16" else 2
    header = json.dumps({"a/weights": {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(checkpoints.CheckpointError, match=f"a/weights has the dtype {dtype}"):
        checkpoints.open_variables(tmp_path / "x.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x02", b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"{}"])
def test_files_that_are_empty_or_claim_too_much(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match="safetensors"):
        checkpoints.open_variables(tmp_path / "x.safetensors")
