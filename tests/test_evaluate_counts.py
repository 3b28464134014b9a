"""Accuracy: the right counts and interval, also when a run is interrupted and resumed."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from converters.images import evaluation
from converters.images.evaluation import Evaluation, evaluate, journal_name, ranks, wilson_interval
from converters.images.labelled import Labelled, labelled_folder, labels_file
from converters.images.models import open_image_model
from converters.images.photographs import load_images
from tests.embedding_job import write_images, write_model

# R. G. Newcombe 1998, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 857-872,
# table I, method 3 (the score interval without continuity correction).
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("right", "count", "low", "high"), NEWCOMBE)
def test_interval_as_published(right, count, low, high):
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(count - right, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(("right", "count", "confidence"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_no_interval(right, count, confidence):
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(right, count, confidence)


@pytest.mark.parametrize("k", [1, 5])
def test_ranks_are_tensorflows(k):
    rng = np.random.default_rng(k)
    logits = rng.integers(0, 6, (500, 9)).astype(np.float32)  # with many ties
    logits[::50, 3] = np.nan
    classes = rng.integers(0, 9, 500)
    np.testing.assert_array_equal(ranks(logits, classes) < k, tf.math.in_top_k(classes, logits, k))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return open_image_model(write_model(tmp_path_factory.mktemp("model") / "model.keras", num_classes=7))


@pytest.fixture
def images(tmp_path):
    paths = write_images(tmp_path / "images", 11, broken=(2, 10))
    return [Labelled(str(path), number % 7) for number, path in enumerate(paths)]


def test_counts(model, images, tmp_path):
    result = evaluate(model, images, tmp_path / "journal.json", batch_size=4)
    good = [image for number, image in enumerate(images) if number not in (2, 10)]
    logits = keras.ops.convert_to_numpy(model.model(load_images([image.path for image in good], 64)))
    order = np.argsort(-logits, axis=1)
    assert result.top1 == sum(row[0] == image.index for row, image in zip(order, good, strict=True))
    assert result.top5 == sum(image.index in row[:5] for row, image in zip(order, good, strict=True))
    assert (result.done, result.count) == (11, 9)
    assert [entry.path for entry in result.broken] == [images[2].path, images[10].path]
    assert not (tmp_path / "journal.json").exists()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [0, 3, 6, 9])
def test_an_interrupted_run_resumes(model, images, tmp_path, monkeypatch, stop):
    monkeypatch.setattr(evaluation, "STEP", 3)
    expected = evaluate(model, images, tmp_path / "other.json", batch_size=2)
    journal, seen = tmp_path / "journal.json", []

    def interrupt(done):
        if done == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        evaluate(model, images, journal, batch_size=2, progress=interrupt)
    assert journal.exists() == (stop > 0)
    assert evaluate(model, images, journal, batch_size=2, progress=seen.append) == expected
    assert seen[0] == stop and seen[-1] == 11
    assert not journal.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"job": "another", "counts": {"done": 3}}', "null"])
def test_the_journal_of_another_job_is_ignored(model, images, tmp_path, content):
    journal, seen = tmp_path / "journal.json", []
    journal.write_text(content)
    evaluate(model, images, journal, progress=seen.append)
    assert seen[0] == 0


def test_each_job_has_its_own_journal(model, images):
    others = [images, images[:-1], [Labelled(image.path, 0) for image in images]]
    assert len({journal_name(model, other) for other in others}) == 3


def test_no_readable_image(model, tmp_path):
    with pytest.raises(ValueError, match="None of the 1 images can be read"):
        evaluate(model, [Labelled("absent.png", 0)], tmp_path / "journal.json")


def test_the_journal_is_json_of_counts(tmp_path):
    evaluation._write(tmp_path / "j", "job", Evaluation(3, 1, 2))
    assert json.loads((tmp_path / "j").read_text())["counts"] == {
        "done": 3,
        "top1": 1,
        "top5": 2,
        "one_higher": 0,
        "broken": [],
    }


LABELS = ("background", "tench", "giant panda", "crane", "crane", *(f"thing {number}" for number in range(996)))


def classes_of(folder, names, labels=LABELS):
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "image.png").touch()
    return {image.path.split("/")[-2]: image.index for image in labelled_folder(folder, labels)}


def test_folders_named_by_number(tmp_path):
    assert classes_of(tmp_path, ["0389", "2", "1000"]) == {"0389": 389, "2": 2, "1000": 1000}


def test_folders_named_by_label(tmp_path):
    (tmp_path / ".hidden").mkdir()
    assert classes_of(tmp_path, ["Giant_Panda", "tench"]) == {"Giant_Panda": 2, "tench": 1}


@pytest.mark.parametrize(("labels", "first"), [(LABELS, 1), (LABELS[1:], 0)])
@pytest.mark.parametrize("name", ["{}", "{:04d}"])
def test_a_thousand_folders_are_imagenets_classes(tmp_path, labels, first, name):
    names = [name.format(number) for number in range(1000)]
    assert classes_of(tmp_path, names, labels) == {text: number + first for number, text in enumerate(names)}


@pytest.mark.parametrize(("labels", "first"), [(LABELS, 1), (LABELS[1:], 0)])
def test_some_wordnet_ids(tmp_path, labels, first):
    imagenette = {"n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03888257": 701}
    found = classes_of(tmp_path, imagenette, labels)
    assert found == {name: index + first for name, index in imagenette.items()}


def test_a_wordnet_id_in_a_model_of_other_classes(tmp_path):
    with pytest.raises(ValueError, match="n01440764 does not have the name of a class"):
        classes_of(tmp_path, ["n01440764"], ("cat", "dog"))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["crane"], r"has the label of several classes, \[3, 4\]"),
        (["tench", "unicorn"], "unicorn does not have the name of a class"),
        (["n01440764", "n99999999"], "n99999999 has the WordNet id of none of ImageNet's 1000 classes"),
        (["n01440764", "tench"], "n01440764 does not have the name of a class"),
        (["5", "1001"], "1001 is named by a number, but the model has 1001 classes"),
        ([], "has no folder for each class"),
    ],
)
def test_folders_without_a_class(tmp_path, names, sentence):
    with pytest.raises(ValueError, match=sentence):
        classes_of(tmp_path, names)


def test_a_file_of_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("a.png 3\n\nwith space.png\t0\r\n")
    found = labels_file(tmp_path / "labels.txt", tmp_path, 4)
    assert found == [(str(tmp_path / "a.png"), 3), (str(tmp_path / "with space.png"), 0)]


@pytest.mark.parametrize("text", ["a.png\n", "a.png 4\n", "a.png -1\n", "3\n", "a.png 1.0\n", ""])
def test_an_unusable_file_of_labels(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(ValueError, match=r"labels\.txt"):
        labels_file(tmp_path / "labels.txt", tmp_path, 4)
