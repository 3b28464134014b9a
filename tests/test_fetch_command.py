"""``mobilenets fetch``, and names of models in place of files."""

import gzip
import hashlib
import json
import pathlib
import random

import pytest
from click.testing import CliRunner

import converters
from converters.commands.fetch import fetch_command
from converters.sources import Source, find_source
from tests.file_server import responds

BODY = gzip.compress(random.Random(1).randbytes(1000), mtime=0)


def invoke(*arguments):
    return CliRunner().invoke(fetch_command, [str(argument) for argument in arguments])


def asked_for(server):
    return [path.rpartition("/")[2] for path, _ in server.requests]


def test_paths_are_printed(published, tmp_path):
    result = invoke("mobilenet_v2_035_96", "inception_v2", "--cache", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    names = ["mobilenet_v2_0.35_96.tgz", "inception_v2_2016_08_28.tar.gz"]
    paths = [str(next((tmp_path / "mine").rglob(name))) for name in names]
    assert result.output.splitlines() == paths
    assert asked_for(published) == names


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35_96", "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96"])
def test_other_names_of_a_model(published, name):
    assert invoke(name, "mobilenet_v2_035_96").exit_code == 0
    assert asked_for(published) == ["mobilenet_v2_0.35_96.tgz"]


@pytest.mark.parametrize(
    ("arguments", "count"), [(["--family", "mobilenet_v1"], 16), (["--family", "inception_v2", "--all"], 45)]
)
def test_families(published, arguments, count):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == len(set(asked_for(published))) == count


def test_json(published):
    (facts,) = json.loads(invoke("mobilenet_v2_035_96", "--json").output)
    assert pathlib.Path(facts.pop("path")).read_bytes() == BODY
    assert facts == {
        "name": "mobilenet_v2_035_96",
        "url": published.url("storage.googleapis.com/mobilenet_v2/checkpoints/mobilenet_v2_0.35_96.tgz"),
        "bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
    }


def test_a_url(server, tmp_path):
    result = invoke(server.url("labels.txt"), "--cache", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith("labels.txt")


def test_no_name():
    result = invoke()
    assert result.exit_code == 2 and "Name a model, or give --family, --all or --from." in result.output


@pytest.mark.parametrize("name", ["mobilenet_v3", "https://tfhub.dev/google/imagenet/mobilenet_v3"])
def test_an_unknown_name_is_an_error_before_any_download(published, name):
    result = invoke("mobilenet_v2_035_96", name)
    assert isinstance(result.exception, ValueError) and name in str(result.exception)
    assert not published.requests


def test_the_others_are_fetched_after_a_failure(published, tmp_path):
    published.answers = [responds(200, BODY), responds(404), responds(404), responds(200, BODY)]
    result = invoke("inception_v2", "mobilenet_v2_035_96", "mobilenet_v1_025_128")
    archives = ["inception_v2_2016_08_28.tar.gz", "mobilenet_v2_0.35_96.tgz", "mobilenet_v1_0.25_128.tgz"]
    assert result.exit_code == 2 and asked_for(published) == [*archives[:2], "5.tar.gz", archives[2]]
    assert [line.rpartition("/")[2] for line in result.stdout.splitlines()] == [archives[0], archives[2]]
    error, *answers, summary = result.stderr.splitlines()
    assert error.startswith("Error: mobilenet_v2_035_96 ") and sum("404 Not Found" in line for line in answers) == 2
    assert summary == "1 of 3 could not be fetched: mobilenet_v2_035_96."


def test_a_progress_bar_on_a_terminal(published, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = invoke("inception_v2")
    assert result.exit_code == 0 and "kB" in result.output
    assert "kB" not in CliRunner(env={"FORCE_COLOR": None}).invoke(fetch_command, ["inception_v2"]).output


@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96"])
def test_a_published_name_is_a_source(published, name):
    seen = []
    source = find_source(name, lambda done, total: seen.append(done))
    assert source.path.name == "mobilenet_v2_0.35_96.tgz" and source.path.read_bytes() == BODY
    assert source.published == "mobilenet_v2_035_96" and find_source(source) is source
    assert seen[-1] == len(BODY)


@pytest.mark.parametrize("there", ["inception_v2", "inception_v2.index"])
def test_an_existing_path_wins_over_a_published_name(published, tmp_path, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).write_bytes(b"")
    assert find_source("inception_v2") == Source("inception_v2")
    assert not published.requests


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_035_95", "mobilenetv2_035_96", "mobilenet_v1_0.25_12", "https://tfhub.dev/google/x/1"]
)
def test_a_name_similar_to_a_published_one(published, name):
    with pytest.raises(converters.ConversionError, match=f"{name} does not exist. No .* the closest are mobilenet_v"):
        find_source(name)
    assert not published.requests


@pytest.mark.parametrize("name", ["net.ckpt", "mobilenet_v2_0.35_96.ckpt", "a/mobilenet_v2_035_95", "", "a/b"])
def test_other_paths_are_returned_unchanged(published, name):
    assert find_source(name).path is name and find_source(name).published is None
    assert not published.requests
