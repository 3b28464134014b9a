"""Feature vectors: correct, in bounded memory, written whole, and the same when a run is interrupted and resumed."""

import importlib.util
import json
import os

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import mobilenets
from converters.cli import main
from converters.commands.embed import embed_command
from converters.images import embedder
from converters.images.embedding import embed
from converters.images.embedding_files import metadata_of
from converters.images.image_paths import ImagePaths
from converters.images.models import open_image_model
from converters.images.photographs import load_images
from tests.embedding_job import SIZES, write_images, write_model

BROKEN = (1, 4, 5, 6, 7)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.keras", num_classes=7)


@pytest.fixture(scope="module")
def model(file):
    return open_image_model(file)


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", 14, BROKEN)
    return ImagePaths([tmp_path / "images"])


def read(path):
    """Paths and features, by the libraries that users have."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["paths"].tolist(), arrays["features"]
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    return table["path"].to_pylist(), np.array(table["features"].to_pylist(), np.float32).reshape(len(table), 256)


@pytest.fixture(params=[".npz", ".parquet"])
def output(request, tmp_path):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / f"features{request.param}"


def test_features(model, images, output):
    result = embed(model, images, output, **SIZES)
    good = [path for number, path in enumerate(images) if number not in BROKEN]
    paths, features = read(output)
    assert paths == good
    assert features.dtype == np.float32 and features.shape == (9, 256)
    pooled = keras.Model(model.model.input, mobilenets.endpoints(model.model)["MobilenetV1/global_pool"])
    expected = keras.ops.convert_to_numpy(pooled(load_images(good, 64))).reshape(9, 256)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert (result.count, result.num_features, result.resumed) == (9, 256, 0)
    assert [entry.path for entry in result.broken] == [path for path in images if path not in good]
    assert metadata_of(output)["broken"] == [list(entry) for entry in result.broken]
    assert not output.with_name(f"{output.name}.parts").exists()


def test_a_classifier_and_its_feature_vector_model_agree(tmp_path, images):
    heads = {"classification": "a.keras", "feature_vector": "b.keras"}
    found = []
    for head, name in heads.items():
        model = open_image_model(write_model(tmp_path / name, head=head))
        embed(model, images, tmp_path / f"{head}.npz", **SIZES)
        found.append(read(tmp_path / f"{head}.npz")[1])
    np.testing.assert_array_equal(*found)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [4, 8, 12, 14])
def test_an_interrupted_run_resumes(model, images, output, tmp_path, stop):
    whole = tmp_path / f"whole{output.suffix}"
    expected = embed(model, images, whole, **SIZES)

    def interrupt(done, total):
        assert total == 14 and not output.exists()
        if done == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        embed(model, images, output, progress=interrupt, **SIZES)
    result = embed(model, images, output, **SIZES)
    assert result.resumed == stop
    assert result.broken == expected.broken
    assert output.read_bytes() == whole.read_bytes()


def test_a_finished_job_is_not_repeated(model, images, output, monkeypatch):
    first = embed(model, images, output, **SIZES)
    (output.parent / f"{output.name}.parts").mkdir()  # as a run leaves it that ends while it tidies up
    monkeypatch.setattr(embedder, "image_batches", None)
    again = embed(model, images, output, **SIZES)
    assert (again.count, again.broken, again.resumed) == (first.count, first.broken, 14)
    assert not output.with_name(f"{output.name}.parts").exists()


def test_an_existing_output_is_kept_without_force(model, images, output):
    output.write_text("precious")
    with pytest.raises(ValueError, match="exists; use --force"):
        embed(model, images, output, **SIZES)
    assert output.read_text() == "precious"
    embed(model, images, output, force=True, **SIZES)
    assert len(read(output)[0]) == 9


def test_parts_of_another_job(model, images, output):
    def interrupt(done, total):
        raise Interrupted

    with pytest.raises(Interrupted):
        embed(model, images, output, progress=interrupt, **SIZES)
    others = list(images)[:3]
    with pytest.raises(ValueError, match="parts of another job"):
        embed(model, others, output, **SIZES)
    embed(model, others, output, force=True, **SIZES)
    assert read(output)[0] == [others[0], others[2]]


def test_abandoned_parts_are_removed(model, images, output):
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir()
    (parts / "00000000.npz").write_bytes(b"stale")
    embed(model, images, output, **SIZES)
    assert len(read(output)[0]) == 9


def test_a_damaged_part_is_reported(model, images, output):
    def spoil(done, total):
        if done == 8:
            next(output.parent.glob("*.parts/00000000.npz")).write_bytes(b"PK spoiled")

    with pytest.raises(ValueError, match=r"00000000\.npz is damaged"):
        embed(model, images, output, progress=spoil, **SIZES)
    assert not output.exists()


def test_a_list_that_changes(model, images, output):
    class Changing:
        def __init__(self):
            self.times = 0

        def __iter__(self):
            self.times += 1
            return iter(list(images)[: 14 - self.times])

    with pytest.raises(ValueError, match="changed during the run"):
        embed(model, Changing(), output, **SIZES)


def test_two_processes(model, images, output):
    def second(done, total):
        if done == 4:
            embed(model, images, output, **SIZES)

    with pytest.raises(ValueError, match="Another process is writing"):
        embed(model, images, output, progress=second, **SIZES)


def test_only_broken_images(model, tmp_path, output):
    paths = list(map(str, write_images(tmp_path / "bad", 3, broken=(0, 1, 2))))
    with pytest.raises(ValueError, match=r"None of the 3 images can be read; the first: .*000\.png"):
        embed(model, paths, output, **SIZES)
    assert not output.exists() and not output.with_name(f"{output.name}.parts").exists()


def test_names_that_are_not_utf8(model, tmp_path, output):
    (path,) = write_images(tmp_path / "names", 1)
    named = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xc3\xbc.png")
    try:
        os.rename(path, named)
    except OSError:
        pytest.skip("this file system has no such names")
    embed(model, [named], output, **SIZES)
    assert read(output)[0] == [f"{tmp_path}/\\xffü.png"]


def test_memory_does_not_grow_with_the_list(model, tmp_path, monkeypatch, output):
    """No more than a part is ever asked for or read at once."""
    paths = list(map(str, write_images(tmp_path / "many", 5) * 8))
    sizes = []
    batches = embedder.image_batches
    monkeypatch.setattr(embedder, "image_batches", lambda found, *_: sizes.append(len(found)) or batches(found, *_))
    embed(model, paths, output, **SIZES)
    assert sizes == [4] * 10
    assert read(output)[0] == paths


def invoke(*arguments):
    program = type(main)("mobilenets", commands={"embed": embed_command})
    return CliRunner().invoke(program, ["embed", *map(str, arguments)], prog_name="mobilenets")


def test_the_command(file, images, output):
    (folder,) = images.names
    listed = output.parent / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in images))
    result = invoke(file, folder, "-o", output)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("Broken:") == len(BROKEN) and "004.png" in result.stderr
    assert "broken" in result.stdout and "5" in result.stdout
    facts = json.loads(invoke(file, "--list", listed, "-o", output, "--json").stdout)
    assert (facts["images"], facts["features"], len(facts["broken"])) == (9, 256, 5)
    assert facts["done_by_an_earlier_run"] == 14  # the same paths, so the same job


@pytest.mark.parametrize(
    ("name", "sentence"), [("out.csv", "must end in .parquet or .npz"), ("absent/out.npz", "does not exist")]
)
def test_unusable_output(file, images, tmp_path, name, sentence):
    result = invoke(file, *images.names, "-o", tmp_path / name)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_without_pyarrow(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mobilenets\[embed\]', or write an \.npz file"):
        embed(model, images, tmp_path / "out.parquet")


def test_no_images_and_no_features(model, tmp_path):
    with pytest.raises(ValueError, match="no images"):
        embed(model, [], tmp_path / "out.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        embed(model, [], tmp_path / "folder.npz")
    feature_map = open_image_model(write_model(tmp_path / "map.keras", head="feature_map"))
    with pytest.raises(ValueError, match="does not give feature vectors"):
        embed(feature_map, ["x.png"], tmp_path / "out.npz")
