"""Names of classes: from a file, from a download, or numbers."""

import threading

import pytest

from converters.images import labels
from converters.images.labels import class_numbers, labels_of, read_labels
from tests.file_server import serving

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
    assert labels_of(classes, tmp_path / "labels.txt") == (expected, None)


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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))


def test_the_download_is_kept(cache, monkeypatch):
    with serving("\n".join(NAMES).encode()) as server:
        monkeypatch.setattr(labels, "LABELS_URL", server.url("labels.txt"))
        assert labels_of(1001) == (NAMES, None)
        assert labels_of(1000) == (NAMES[1:], None)
        assert len(server.requests) == 1
    assert labels_of(1001) == (NAMES, None)  # the server is gone


def test_a_download_without_labels(cache, monkeypatch):
    with serving(b"<html>sign in here</html>") as server:
        monkeypatch.setattr(labels, "LABELS_URL", server.url("labels.txt"))
        names, note = labels_of(1001)
    assert names == class_numbers(1001) and names[389] == "class 389"
    assert "has 1 lines" in note


def test_no_network(cache, monkeypatch):
    monkeypatch.setattr(labels, "LABELS_URL", "http://127.0.0.1:9/labels.txt")
    names, note = labels_of(1001)
    assert names == class_numbers(1001)
    assert "http://127.0.0.1:9/labels.txt" in note


def test_a_network_that_never_answers_times_out(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(labels.checkpoints, "fetch", lambda *_, **__: ended.wait())
    with pytest.raises(TimeoutError, match="did not answer"):
        labels._fetched("http://127.0.0.1:9/labels.txt", seconds=0.01)
    ended.set()


def test_a_model_of_other_classes_has_numbers():
    assert labels_of(5) == (("class 0", "class 1", "class 2", "class 3", "class 4"), None)
