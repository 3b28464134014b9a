"""``mobilenets evaluate`` as a user meets it."""

import json
import re
import shutil

import pytest
from click.testing import CliRunner

from converters.cli import main
from converters.commands.evaluate import evaluate_command
from converters.conversion import conversion_of
from converters.saving import save_model


def invoke(*arguments):
    program = type(main)("mobilenets", commands={"evaluate": evaluate_command})
    return CliRunner().invoke(program, ["evaluate", *map(str, arguments)], prog_name="mobilenets")


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    """The real MobileNet V1 0.25 at 128, the photographs in folders by number, and a file of labels for them."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_model(
        conversion_of(shared / "real" / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt"), folder / "v1.keras"
    )
    lines = []
    for path in sorted((shared / "images" / "labelled").iterdir()):
        index = path.name[:4]
        (folder / "numbers" / index).mkdir(parents=True)
        shutil.copy(path, folder / "numbers" / index)
        lines.append(f"{path.name} {int(index)}\n")
    (folder / "labels.txt").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_accuracy_next_to_the_published_one(folder, shared, cache):
    labels = shared / "images" / "imagenet_slim_labels.txt"
    result = invoke(folder / "v1.keras", folder / "numbers", "--labels", labels)
    assert result.exit_code == 0, result.output
    assert re.search(r"top-1 .* % \(.* to .* with 95 % confidence\); published: 41\.5", result.stdout)
    assert re.search(r"top-5 .* % \(.* to .* with 95 % confidence\); published: 66\.3", result.stdout)
    assert [entry.name for entry in cache.iterdir()] in ([], ["networks"])  # no journal is left


def test_folders_and_a_file_of_labels_give_the_same(folder, shared, tmp_path):
    labels = shared / "images" / "imagenet_slim_labels.txt"
    by_folder = invoke(folder / "v1.keras", folder / "numbers", "--labels", labels, "--json")
    arguments = [shared / "images" / "labelled", "--labels-file", folder / "labels.txt"]
    by_file = invoke(folder / "v1.keras", *arguments, "--journal", tmp_path / "journal.json", "--json")
    facts = json.loads(by_folder.stdout)
    assert facts == json.loads(by_file.stdout)
    assert facts["images"] == 16 and facts["published_model"] == "mobilenet_v1_025_128"
    assert facts["top1"]["right"] <= facts["top5"]["right"]
    assert facts["top1"]["percent"] == 100 * facts["top1"]["right"] / 16
    assert facts["top1"]["right"] >= 7  # of 16, where chance would give none


def test_a_broken_image(folder, shared, tmp_path):
    (tmp_path / "labels.txt").write_text(f"{shared / 'images' / 'panda.jpg'} 389\nabsent.jpg 1\n")
    result = invoke(folder / "v1.keras", tmp_path, "--labels-file", tmp_path / "labels.txt", "--json")
    assert result.exit_code == 1
    assert "absent.jpg cannot be read" in result.stderr
    facts = json.loads(result.stdout)
    assert (facts["images"], facts["broken"], facts["top1"]["right"]) == (1, 1, 1)


def test_unusable_folder(folder, tmp_path):
    result = invoke(folder / "v1.keras", tmp_path, "--labels", folder / "labels.txt")
    assert result.exit_code == 2
    assert "has 16 lines, but the model has 1001 classes" in result.stderr
