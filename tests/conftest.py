"""What every test file shares: quiet TensorFlow, the reference material, and which cases `make test` leaves out."""

import collections
import ctypes
import gc
import hashlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# The threads of NumPy's matrix products wait for those of the other test process, for longer than the products take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

from tests.file_server import serving

# `make test` runs the cases that took less than `SHORT` of the time of all tests when `make seconds` measured them. It
# also runs a quick case of each test if that took less than `LONG`, or if the test has the mark `core`. These are
# shares, so that the machine that measures does not matter.
SECONDS_FILE = pathlib.Path(__file__).parent / "seconds.json"
SHORT, LONG = 3e-5, 3e-4

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_sessionstart():
    """Forgets the width of the terminal, which xdist passes on: what the commands print depends on it."""
    os.environ.pop("COLUMNS", None)
    # Networks are many small objects: with Python's own threshold, looking for garbage takes a tenth of the time.
    gc.set_threshold(10_000, 10, 10)


def pytest_collection_finish():
    """What is imported by now stays: looking at all of it for garbage takes a fifth of a second each time."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--record-seconds", action="store_true", help="write the durations of the tests into seconds.json")


def pytest_collection_modifyitems(items):
    """Marks what is left out, and puts the files that take longest first, so that no process waits long."""
    seconds = collections.Counter(json.loads(SECONDS_FILE.read_text()))
    short, long = (share * seconds.total() for share in (SHORT, LONG))
    files, tests = collections.Counter(), collections.defaultdict(list)
    for item in items:
        files[item.path] += seconds[item.nodeid]
        tests[item.nodeid.partition("[")[0]].append(item)
    items.sort(key=lambda item: -files[item.path])
    for cases in tests.values():
        # The first of the quick cases, so that the tests of a file choose the same network and share what it needs.
        enough = short + 1.5 * min(seconds[item.nodeid] for item in cases)
        sample = next(item for item in cases if seconds[item.nodeid] <= enough)
        if seconds[sample.nodeid] >= long and not sample.get_closest_marker("core"):
            sample.add_marker(pytest.mark.slow)
        for item in cases:
            if item is not sample and seconds[item.nodeid] >= short:
                item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("record_seconds"):
        return
    seconds = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] += report.duration
    least = SHORT * seconds.total()
    measured = {test: round(taken, 2) for test, taken in sorted(seconds.items()) if taken >= least}
    SECONDS_FILE.write_text(json.dumps(measured, indent=0) + "\n")


@pytest.fixture(scope="module", autouse=True)
def _released_memory():
    """Frees the models and graphs of each file of tests."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        # glibc keeps a hundred MB of what is freed; other C libraries have no such function.
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)


@pytest.fixture(autouse=True)
def _no_kept_networks(request, monkeypatch):
    """Without the conversion of every network that `predict` runs, which takes seconds, but where it is tested."""
    if request.module.__name__ != "tests.test_predict_kept":
        monkeypatch.setattr("converters.images.kept_classifier.MOST_IMAGES", 0)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ``shared`` next to the checkout: real weights, a real hub module, photographs."""
    if not SHARED.is_dir():
        pytest.skip("the reference material (folder `shared` next to the checkout) is missing")
    return SHARED


@pytest.fixture
def server(request, monkeypatch):
    """A server on the loopback address that serves the ``BODY`` of the test's module."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(request.module.BODY) as files:
        yield files


@pytest.fixture
def published(monkeypatch, tmp_path, server):
    """That server in place of all others, its file as the archive of every model, and a cache of the test's own."""
    from checkpoints import archives, origins

    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOBILENETS_MIRRORS", raising=False)
    monkeypatch.delenv("MOBILENETS_OFFLINE", raising=False)
    digest = hashlib.sha256(server.body).hexdigest()
    for name, (first, *_) in archives.REGISTRY.items():
        archive = first._replace(urls=(server.url(first.url.partition("://")[2]),), sha256=digest)
        monkeypatch.setitem(archives.REGISTRY, name, (archive,))
    monkeypatch.setattr(origins, "module_urls", lambda path: (server.url(f"tfhub-modules/{path}.tar.gz"),))
    return server
