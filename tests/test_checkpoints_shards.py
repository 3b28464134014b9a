"""safetensors in several files, and folders of transformers in archives."""

import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import checkpoints
import converters
from converters.exporting import transformers_folder
from converters.imagenet import imagenet_labels
from converters.parity import transformers_run
from tests.networks import CONSTRUCTORS
from tests.test_checkpoints_transformers import tensors, write

INDEX = "model.safetensors.index.json"


def split(folder, stem="model"):
    """Makes two shards and their index of ``<stem>.safetensors``."""
    file = folder / f"{stem}.safetensors"
    made = safetensors.numpy.load_file(file)
    file.unlink()
    names = sorted(made)
    homes = {}
    for number, keys in enumerate((names[::2], names[1::2]), 1):
        shard = f"{stem}-{number:05d}-of-00002.safetensors"
        safetensors.numpy.save_file({key: made[key] for key in keys}, folder / shard, {"format": "pt"})
        homes |= dict.fromkeys(keys, shard)
    index = folder / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": homes}))
    return index


def same(found, expected):
    return found.keys() == expected.keys() and all(found[key].tobytes() == expected[key].tobytes() for key in expected)


def test_shards_of_any_variables(tmp_path):
    values = {f"net/{name}": np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32) for name in "abcde"}
    safetensors.numpy.save_file(values, tmp_path / "mine.safetensors")
    index = split(tmp_path, "mine")
    with checkpoints.open_variables(index) as variables:
        assert variables.format == "safetensors" and not variables.checked
        assert [file.name for file in variables.files] == [
            "mine.safetensors.index.json",
            "mine-00001-of-00002.safetensors",
            "mine-00002-of-00002.safetensors",
        ]
        assert same(dict(variables), values)


def test_a_folder_of_transformers_with_shards(tmp_path):
    expected = checkpoints.load_variables(write(tmp_path / "x", "mobilenet_v2"))
    split(tmp_path / "x")
    with checkpoints.open_variables(tmp_path / "x") as variables:
        assert variables.files[:2] == (tmp_path / "x" / "config.json", tmp_path / "x" / INDEX)
        assert len(variables.files) == 4 and same(dict(variables), expected)


def damage(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda homes: homes.update({"more": "model-00001-of-00002.safetensors"}), "lacks more, which model.safe"),
        (lambda homes: homes.pop(next(iter(homes))), "which model.safetensors.index.json does not list"),
        (lambda homes: homes.update({"more": "model-00003-of-00003.safetensors"}), "is missing, although model.safe"),
        (lambda homes: homes.update({"more": "../other.safetensors"}), "is refused, because it names '../other.safe"),
        (lambda homes: homes.update({"more": "/etc/x.safetensors"}), "is refused, because it names '/etc/x.safe"),
        (lambda homes: homes.update({"more": "model.bin"}), "is refused, because it names 'model.bin'"),
        (lambda homes: homes.update({"more": 3}), "is refused, because it names '3'"),
    ],
)
def test_an_index_that_does_not_fit(tmp_path, change, sentence):
    write(tmp_path / "x", "mobilenet_v1")
    split(tmp_path / "x")
    damage(tmp_path / "x", change)
    with pytest.raises(checkpoints.CheckpointError) as caught:
        checkpoints.open_variables(tmp_path / "x")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": 3}', b"\xff", b'{"a":' * 100_000])
def test_a_damaged_index(tmp_path, content):
    (tmp_path / "a.safetensors.index.json").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match=r"index\.json is damaged|is empty"):
        checkpoints.open_variables(tmp_path / "a.safetensors.index.json")


def packed(folder, path, inside):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"{inside}{file.name}")
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for file in folder.iterdir():
                archive.add(file, f"{inside}{file.name}")
    shutil.rmtree(folder)
    return path


@pytest.mark.parametrize(
    ("name", "inside", "sharded"),
    [("x.tgz", "", False), ("x.zip", "a/b/", False), ("x.tar.gz", "model/", True)],
)
def test_a_folder_in_an_archive(tmp_path, name, inside, sharded, monkeypatch):
    """With everything that its configuration says: image size and output stride."""
    monkeypatch.setattr(transformers_run, "is_installed", lambda: False)
    folder = write(tmp_path / "x", "mobilenet_v2", output_stride=16)
    expected = checkpoints.load_variables(folder)
    if sharded:
        split(folder)
    path = packed(folder, tmp_path / name, inside)
    with checkpoints.open_variables(path) as variables:
        assert (variables.format, variables.files, variables.checked) == ("transformers", (path,), True)
        assert variables.image_size == (96, 96) and same(dict(variables), expected)
    if sharded:
        return
    conversion = converters.conversion_of(path)
    assert conversion.model.input_shape == (None, 96, 96, 3) and conversion.configuration["output_stride"] == 16
    assert not any("/tmp" in note and str(path) not in note for note in conversion.notes)
    if name == "x.zip":
        return
    manifest = converters.save_model(conversion, tmp_path / "model.keras")
    assert "transformers is not installed" in manifest["verification"]["outputs"]["result"]


def test_a_configuration_alone_is_no_folder(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text('{"model_type": "mobilenet_v1"}')
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "x" / "other.safetensors")
    assert checkpoints.load_variables(packed(tmp_path / "x", tmp_path / "x.tgz", "")).keys() == {"a"}


def test_two_folders_in_an_archive(tmp_path):
    (tmp_path / "all").mkdir()
    for name in ("one", "two"):
        write(tmp_path / "all" / name, "mobilenet_v1", tensors("mobilenet_v1"))
    with tarfile.open(tmp_path / "x.tgz", "w:gz", compresslevel=1) as archive:
        archive.add(tmp_path / "all", ".")
    with pytest.raises(checkpoints.CheckpointError, match="holds 2 files of variables, but one is expected: one, two"):
        checkpoints.open_variables(tmp_path / "x.tgz")


@pytest.mark.parametrize(("classes", "first"), [(1001, "background"), (1000, "tench"), (7, "LABEL_0")])
def test_the_labels_of_an_exported_folder(classes, first, tmp_path):
    model = CONSTRUCTORS["mobilenet_v1"](0.25, input_shape=(64, 64, 3), num_classes=classes)
    transformers_folder.write_folder(model, tmp_path / "x")
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    labels = [config["id2label"][str(index)] for index in range(classes)]
    assert labels[0] == first and len(config["id2label"]) == classes
    if classes >= 1000:
        assert labels == list(imagenet_labels()[-classes:])
        assert config["id2label"][str(classes - 1001 + 389)] == "giant panda"
    assert all(config["label2id"][label] == labels.index(label) for label in labels)
    assert len(checkpoints.load_variables(tmp_path / "x")) == 137
