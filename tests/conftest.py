"""What every test file shares: quiet TensorFlow, and the way to the reference material beside the checkout."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

from tests.file_server import serving

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ``shared`` beside the checkout: real weights, a real hub module, photographs."""
    if not SHARED.is_dir():
        pytest.skip("the reference material (folder `shared` beside the checkout) is not here")
    return SHARED


@pytest.fixture
def server(request, monkeypatch):
    """A server on the loopback address that serves the ``BODY`` of the test's module."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(request.module.BODY) as files:
        yield files


@pytest.fixture
def published(monkeypatch, tmp_path, server):
    """That server in place of all others, and a cache of the test's own."""
    import checkpoints

    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    fetch = checkpoints.fetch

    def fetch_from_server(url, **choices):
        return fetch(server.url(url.partition("://")[2]), **choices)

    monkeypatch.setattr(checkpoints, "fetch", fetch_from_server)
    return server
