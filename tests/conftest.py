"""What every test file shares: quiet TensorFlow, and the way to the reference material beside the checkout."""

import hashlib
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
