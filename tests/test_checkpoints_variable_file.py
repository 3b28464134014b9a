"""`VariableFile`: arrays in memory as a source, views under other names, and copies."""

import dataclasses

import numpy as np
import pytest

import checkpoints
from checkpoints import VariableFile

AVERAGE = "net/weights/ExponentialMovingAverage"
ARRAYS = {
    "net/weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    AVERAGE: np.ones((2, 3), np.float32),
    "global_step": np.int64(7),
}


@pytest.fixture(params=["mapping", "v1", "v2"])
def variables(request, tmp_path):
    """The same variables in memory and in files."""
    if request.param == "mapping":
        yield VariableFile.from_arrays(ARRAYS, "net.ckpt")
        return
    checkpoints.save_checkpoint(ARRAYS, tmp_path / "net.ckpt", version=int(request.param[1]))
    with checkpoints.open_variables(tmp_path / "net.ckpt") as file:
        yield file


def test_arrays_in_memory():
    variables = VariableFile.from_arrays(ARRAYS)
    assert (variables.path, variables.format, variables.files) == ("The mapping", "mapping", ())
    assert variables.checked and variables.image_size is None
    assert repr(variables) == "VariableFile('The mapping', mapping, 3 variables)"
    assert VariableFile.from_arrays(ARRAYS, "these").path == "these"


def test_memory_and_files_are_read_alike(variables):
    assert list(variables) == sorted(ARRAYS) == list(variables.shapes) == list(variables.dtypes)
    for name, array in ARRAYS.items():
        assert (variables.shapes[name], variables.dtypes[name]) == (array.shape, array.dtype)
        np.testing.assert_array_equal(variables[name], array, strict=True)
        variables[name][...] = 9  # a copy of the caller's own
        np.testing.assert_array_equal(variables[name], array, strict=True)
    with pytest.raises(KeyError, match="nothing"):
        variables["nothing"]
    variables.close()
    with pytest.raises(checkpoints.CheckpointError, match=r"net\.ckpt is closed"):
        variables["global_step"]


def test_shapes_are_determined_once():
    class Counting(dict):
        reads = 0

        def __getitem__(self, name):
            self.reads += 1
            return super().__getitem__(name)

    arrays = Counting(ARRAYS)
    variables = VariableFile.from_arrays(arrays)
    before = arrays.reads
    assert len(variables.renamed({"a": "net/weights"}).shapes) == 1 and len(variables.shapes) == 3
    assert arrays.reads == before
    assert variables["global_step"] == 7 and arrays.reads == before + 1


def test_values_that_numpy_makes_arrays_of():
    variables = VariableFile.from_arrays({"list": [[1.0, 2.0]], "number": 3})
    assert variables.shapes == {"list": (1, 2), "number": ()}
    assert isinstance(variables["number"], np.ndarray) and variables["number"] == 3


class NotAnArray:
    def __array__(self, *_, **__):
        raise RuntimeError("no values\nat all")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({1: np.zeros(3)}, r"^These cannot be used: the name 1 is not a string\.$"),
        ({"a": NotAnArray()}, r"^These cannot be used: a is not an array \(no values\)\.$"),
        ({"a": [[1], [1, 2]]}, r"^These cannot be used: a is not an array \("),
    ],
)
def test_values_that_are_no_variables(mapping, message):
    with pytest.raises(checkpoints.CheckpointError, match=message):
        VariableFile.from_arrays(mapping, "These")


def test_an_array_that_changes_its_shape():
    arrays = {"a": np.zeros(3)}
    variables = VariableFile.from_arrays(arrays)
    arrays["a"] = np.zeros(4)
    with pytest.raises(checkpoints.CheckpointError, match=r"a in The mapping is declared as float64 \(3,\) but was"):
        variables["a"]


def test_other_names(variables):
    view = variables.renamed({"net/weights": AVERAGE, "a step": "global_step"})
    assert list(view) == ["a step", "net/weights"] and "global_step" not in view
    assert view.shapes == {"a step": (), "net/weights": (2, 3)}
    assert view.dtypes == {"a step": np.int64, "net/weights": np.float32}
    np.testing.assert_array_equal(view["net/weights"], ARRAYS[AVERAGE], strict=True)
    assert (view.path, view.format, view.files) == (variables.path, variables.format, variables.files)
    again = view.renamed({"weights": "net/weights"})
    np.testing.assert_array_equal(again["weights"], ARRAYS[AVERAGE], strict=True)
    with pytest.raises(KeyError, match="nothing"):
        variables.renamed({"a": "nothing"})


def test_a_closed_view_leaves_the_file_open(variables):
    view = variables.renamed({"a": "global_step"})
    view.close()
    with pytest.raises(checkpoints.CheckpointError, match=r"net\.ckpt is closed; a cannot be read"):
        view["a"]
    assert variables["global_step"] == 7


def test_a_view_of_a_closed_file(variables):
    view = variables.renamed({"a": "global_step"})
    assert view["a"] == 7
    variables.close()
    with pytest.raises(checkpoints.CheckpointError, match=r"net\.ckpt is closed; global_step cannot be read"):
        view["a"]


def test_damage_in_a_view_names_the_entry_of_the_file(tmp_path):
    checkpoints.save_checkpoint(ARRAYS, tmp_path / "net.ckpt")
    data = tmp_path / "net.ckpt.data-00000-of-00001"
    marker = ARRAYS[AVERAGE].tobytes()
    data.write_bytes(data.read_bytes().replace(marker, marker[:-1] + b"\0"))
    with checkpoints.open_variables(tmp_path / "net.ckpt") as variables:
        view = variables.renamed({"a": AVERAGE})
        with pytest.raises(
            checkpoints.CheckpointError, match=rf"^a in .*net\.ckpt is damaged .*stored as {AVERAGE}\)\.$"
        ):
            view["a"]


@pytest.mark.parametrize("attribute", ["path", "format", "files", "specs", "shapes", "checked", "image_size"])
def test_attributes_never_change(variables, attribute):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(variables, attribute, None)


def test_a_copy_with_another_path(variables):
    copy = dataclasses.replace(variables, path="elsewhere", image_size=(96, None))
    assert (copy.path, copy.image_size, variables.image_size) == ("elsewhere", (96, None), None)
    assert copy.keys() == variables.keys() and copy["global_step"] == 7


@pytest.mark.parametrize("message", ["No space left.", "No space left", " No space left\nWrote 5 bytes."])
def test_reason(message):
    assert checkpoints.reason(OSError(message)) == "No space left"
    assert checkpoints.reason(KeyError()) == "KeyError"


def test_staged_outputs_replace_old_ones(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "member").write_text("old")
    with checkpoints.staged(tmp_path / "old") as temporary:
        assert temporary.name == "old" and not temporary.exists() and temporary.parent.parent == tmp_path
        temporary.mkdir()
        (temporary / "new").write_text("new")
        temporary.with_name("second").write_text("new")
        assert (tmp_path / "old" / "member").exists()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["old", "old/new", "second"]


def test_staged_outputs_after_an_exception(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(KeyboardInterrupt), checkpoints.staged(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"
