"""Work that is killed at any point leaves no half file under a final name, and the next run succeeds."""

import gzip
import hashlib
import json
import random
import shutil
import sys

import pytest

import checkpoints
from checkpoints import archives
from tests.file_server import serving
from tests.killing import FILE_WORK, kill_at_random_points

BODY = gzip.compress(random.Random(1).randbytes(3_000_000), mtime=0)
LOADED = ("requests", "checkpoints.cache", "mobilenets.published")


@pytest.mark.parametrize(
    ("inside", "times", "gone_on"), [(FILE_WORK, 80, 4), ((), 20, 0)], ids=["file work", "anywhere"]
)
def test_a_killed_fetch(tmp_path, monkeypatch, inside, times, gone_on):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cache = tmp_path / "cache"
    resumed = []
    with serving(BODY) as server:

        def check(killed):
            finals = [file for file in cache.rglob("net.tgz") if file.is_file()]
            records = list(cache.rglob("net.tgz.json"))
            assert all(file.read_bytes() == BODY for file in finals)
            assert all(json.loads(file.read_text())["bytes"] == len(BODY) for file in records)
            assert finals or not records
            assert killed or (finals and records)
            server.requests.clear()
            path = checkpoints.fetch(server.url(), cache=cache)
            resumed.extend(filter(None, server.ranges))
            assert path.read_bytes() == BODY and path.with_name("net.tgz.json").exists()
            assert not list(cache.rglob("*.part"))
            shutil.rmtree(cache)

        command = ["converters.commands.fetch:fetch_command", server.url(), "--cache", str(cache)]
        points = kill_at_random_points(command, check, times, inside=inside, loaded=LOADED)
    assert points > 1000
    assert len(set(resumed)) >= gone_on  # that many runs went on from different points of the body


def adopt_a_made_archive():
    """Adopts as `fetch --from` does, with the archive of the test in the place of a published one."""
    _, file, cache = sys.argv
    (name, (first, *_)), *_ = archives.REGISTRY.items()
    archives.REGISTRY[name] = (first._replace(sha256=hashlib.sha256(BODY).hexdigest()),)
    checkpoints.adopt(file, cache=cache)


def test_a_killed_adoption(tmp_path):
    source, cache = tmp_path / "x.tgz", tmp_path / "cache"
    source.write_bytes(BODY)

    def check(killed):
        finals = list(cache.rglob("*.tgz"))
        assert killed or len(finals) == 1
        assert all(file.read_bytes() == BODY for file in finals)
        assert source.read_bytes() == BODY
        shutil.rmtree(cache, ignore_errors=True)

    command = ["tests.test_trust_kill:adopt_a_made_archive", str(source), str(cache)]
    points = kill_at_random_points(command, check, 40, inside=(*FILE_WORK, "shutil"), loaded=LOADED)
    assert points > 100
