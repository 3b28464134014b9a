"""Names of classes: from a file, ImageNet's, or numbers."""

import pytest

from converters.imagenet import wordnet_classes
from converters.images.labels import labels_of, read_labels

NAMES = ("background", *(f"thing {number}" for number in range(1000)))


def write(path, names):
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("in_file", "classes", "expected"),
    [
        (NAMES, 1001, NAMES),
        (NAMES[1:], 1001, NAMES),
        (NAMES, 1000, NAMES[1:]),
        (NAMES[1:], 1000, NAMES[1:]),
        (("круг", "quadrat"), 2, ("круг", "quadrat")),
    ],
)
def test_a_file(tmp_path, in_file, classes, expected):
    assert read_labels(write(tmp_path / "labels.txt", in_file), classes) == expected
    assert labels_of(classes, tmp_path / "labels.txt") == expected


@pytest.mark.parametrize(("lines", "classes"), [(999, 1001), (1002, 1001), (1001, 5), (4, 5), (0, 1001)])
def test_another_number_of_labels(tmp_path, lines, classes):
    path = tmp_path / "labels.txt"
    path.write_text("x\n" * lines)
    with pytest.raises(ValueError, match=rf"labels\.txt has {lines} lines, but the model has {classes} classes"):
        labels_of(classes, path)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        read_labels(tmp_path / "labels.txt")


def test_imagenets_labels_need_no_download():
    names = labels_of(1001)
    assert len(names) == 1001 and names[:2] == ("background", "tench") and names[1000] == "toilet tissue"
    assert names[389] == "giant panda" and names[780] == "school bus"
    assert labels_of(1000) == names[1:]


def test_the_table_equals_the_published_lists(shared):
    images = shared / "images"
    slim = (images / "imagenet_slim_labels.txt").read_text().splitlines()
    full = (images / "imagenet_labels_full_names.txt").read_text().splitlines()
    assert labels_of(1001) == (full[0].partition(":")[2], *slim[1:])
    ids = (images / "imagenet_wordnet_ids.txt").read_text().split()
    assert wordnet_classes() == {name: place for place, name in enumerate(ids, 1)}


def test_wordnet_ids_are_in_the_order_of_the_classes():
    assert list(wordnet_classes().values()) == list(range(1, 1001))
    assert list(wordnet_classes()) == sorted(wordnet_classes())
    assert wordnet_classes()["n02510455"] == 389


def test_a_model_of_other_classes_has_numbers():
    assert labels_of(5) == ("class 0", "class 1", "class 2", "class 3", "class 4")
