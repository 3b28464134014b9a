"""A model and its manifest belong together at every moment: after a kill, with two conversions at a time, in a copy."""

import json
import os
import pathlib
import shutil
import zipfile

import pytest

import checkpoints
import converters
import mobilenets
from checkpoints import files
from converters.manifest_file import MEMBER, manifest_in, manifest_path
from tests.oracle.recipes import made_up_variables


@pytest.fixture(scope="module")
def conversions():
    """Of two networks with the same variables and other values."""
    shapes = mobilenets.variable_shapes("mobilenet_v1", 0.25, 10)
    return [
        converters.conversion_of(made_up_variables(shapes, seed), input_shape=(96, 96, 3), head="classification")
        for seed in (1, 2)
    ]


class Killed(BaseException):
    pass


def killed_after(monkeypatch, moves):
    """Lets so many files get their names, and then ends the work as a kill would: nothing tidies up."""
    real = os.replace

    def replace(source, target):
        nonlocal moves
        if not moves:
            raise Killed
        moves -= 1
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)


def save(conversion, path, **options):
    return converters.save_model(conversion, path, verify=False, **options)


def same(path, conversion):
    found, expected = (
        converters.slim_variables(converters.load_model(path)),
        converters.slim_variables(conversion.model),
    )
    return all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_the_manifest_is_in_the_model_and_next_to_it(tmp_path, conversions):
    manifest = save(conversions[0], tmp_path / "net.keras")
    assert manifest_in(tmp_path / "net.keras") == manifest
    assert json.loads((tmp_path / "net.manifest.json").read_text()) == manifest
    assert len(manifest["id"]) == 32


@pytest.mark.parametrize(("moves", "whose"), [(0, 0), (1, 0), (2, 1)])
def test_a_replacement_that_is_killed(tmp_path, monkeypatch, conversions, moves, whose):
    path = tmp_path / "net.keras"
    save(conversions[0], path)
    with monkeypatch.context() as patch:
        killed_after(patch, moves)
        if moves < 2:
            with pytest.raises(Killed):
                save(conversions[1], path, force=True)
        else:
            save(conversions[1], path, force=True)
    assert same(path, conversions[whose])
    report = converters.verify(path, manifest_path(path), name=str(path))
    stale = moves == 1  # the manifest next to the model is the new one, the model is the old one
    assert report.passed != stale
    assert any("another conversion" in note for note in report.notes) == stale
    save(conversions[1], path, force=True)
    assert converters.verify(path, manifest_path(path)).passed


def test_the_moves_of_two_conversions_do_not_mix(tmp_path, monkeypatch, conversions):
    """The second is at its moves while the first is between its own: it waits for the lock of the folder."""
    locks = []
    real = files.locked_folder

    def locked(folder):
        locks.append(folder)
        return real(folder)

    monkeypatch.setattr(files, "locked_folder", locked)
    save(conversions[0], tmp_path / "net.keras")
    assert locks == [tmp_path]  # once, around both moves


def test_without_force_the_second_of_two_loses(tmp_path, monkeypatch, conversions):
    """Both find no model when they begin; the first is done before the second moves its files."""
    path = tmp_path / "net.keras"
    real = files.locked_folder
    first = [conversions[0]]

    def locked(folder):
        if first:
            save(first.pop(), path)
        return real(folder)

    monkeypatch.setattr(files, "locked_folder", locked)
    with pytest.raises(converters.ConversionError, match=r"net.keras exists; use --force"):
        save(conversions[1], path)
    assert same(path, conversions[0])
    assert converters.verify(path, manifest_path(path)).passed


def test_a_foreign_file_with_the_name_of_the_manifest(tmp_path, conversions):
    path = tmp_path / "net.keras"
    manifest_path(path).write_text('{"name": "a web application"}')
    with pytest.raises(converters.ConversionError, match=r"net.manifest.json exists and is no manifest; use --force"):
        save(conversions[0], path)
    assert "web" in manifest_path(path).read_text() and not path.exists()
    save(conversions[0], path, force=True)
    path.unlink()
    save(conversions[1], path)  # a manifest that was left alone is replaced
    assert same(path, conversions[1])


def test_a_changed_manifest_next_to_the_model_is_detected(tmp_path, conversions):
    path = tmp_path / "net.keras"
    manifest = save(conversions[0], path)
    name = next(iter(manifest["variables"]))
    manifest["variables"][name]["masked_crc32c"] = "0x00000000"
    manifest_path(path).write_text(json.dumps(manifest))
    with pytest.raises(converters.ConversionError, match="1 different"):
        converters.load_model(path)


def test_a_model_without_a_manifest_in_it(tmp_path, conversions):
    """As earlier versions wrote it, or Keras: the manifest next to it counts."""
    path = tmp_path / "net.keras"
    save(conversions[0], tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if name != MEMBER:
                target.writestr(name, source.read(name))
    shutil.copy(tmp_path / "whole.manifest.json", manifest_path(path))
    assert same(path, conversions[0])
    save(conversions[1], tmp_path / "whole.keras", force=True)
    shutil.copy(tmp_path / "whole.manifest.json", manifest_path(path))
    with pytest.raises(converters.ConversionError, match="does not hold the weights"):
        converters.load_model(path)


def test_two_files_of_one_output_are_never_those_of_two_runs(tmp_path, monkeypatch):
    """As OpenVINO's: the file that is named is removed first and moved last."""

    def write(text):
        with checkpoints.staged(tmp_path / "net.xml") as unfinished:
            unfinished.write_text(text)
            unfinished.with_suffix(".bin").write_text(text)

    for moves in (0, 1, 2):
        write("old")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(patch, moves)
            write("new")
        assert (tmp_path / "net.xml").exists() == (moves == 0)
        assert (tmp_path / "net.bin").read_text() == ("new" if moves == 2 else "old")
    write("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"net.xml": "new", "net.bin": "new"}


@pytest.mark.parametrize("size", [240, 247, 255])
def test_long_names(tmp_path, conversions, size):
    path = tmp_path / f"{'n' * (size - 6)}.keras"
    if size <= 247:  # the name of the manifest is 8 bytes longer
        save(conversions[0], path)
        assert same(path, conversions[0])
    else:
        with pytest.raises(checkpoints.CheckpointError, match="its name has 263 bytes, more than 255"):
            save(conversions[0], path)
        assert not list(pathlib.Path(tmp_path).iterdir())
