"""The runtimes of `inference_function`: the same outputs, a note each, and a fallback that is not silent."""

import importlib.util

import keras
import numpy as np
import pytest

import converters
from converters.runtimes import table
from converters.runtimes.choice import fastest_first
from tests.oracle import made_up_images
from tests.test_export_inference import network


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check(infer, model):
    for count in (1, 5):
        images = made_up_images(64, 64, batch=count)
        expected = np.asarray(model(images))
        np.testing.assert_allclose(infer(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="the extra `litert` is not installed")
def test_litert_is_kept_in_the_cache_and_a_damaged_file_is_written_again(cache):
    model = network("mobilenet_v1")
    infer = converters.inference_function(model, threads=2)
    assert infer.runtime == "litert" and 0 < infer.error <= infer.bound
    assert infer.notes[-1].startswith("The runtime is litert")
    check(infer, model)
    (file,) = cache.rglob("*.tflite")
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    check(converters.inference_function(model, "litert"), model)
    assert file.read_bytes()[:8] == whole[:8]


def test_a_runtime_that_fails_or_is_wrong_falls_back_with_a_note(monkeypatch):
    model = network("mobilenet_v1")

    def broken(path, threads):
        raise RuntimeError("no such kernel")

    def wrong(path, threads):
        return lambda images: np.zeros((len(images), 11), np.float32)

    row = table.RUNTIMES["litert"]._replace(packages=(), writers=())
    monkeypatch.setitem(table.RUNTIMES, "litert", row._replace(load=broken))
    monkeypatch.setitem(table.RUNTIMES, "onnx", row._replace(load=wrong))
    monkeypatch.setitem(table.RUNTIMES, "openvino", row._replace(packages=("no_such_package",)))
    infer = converters.inference_function(model)
    assert infer.runtime == "tensorflow"
    failed, differs, last = infer.notes
    assert "litert failed: no such kernel" in failed and "onnx is not used: it differs" in differs
    assert last == "The runtime is tensorflow."
    check(infer, model)
    (missing, _) = converters.inference_function(model, "openvino").notes
    assert "openvino is not installed (no_such_package)" in missing


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match="runtime must be one of auto, keras"):
        converters.inference_function(None, "xla")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        converters.inference_function(None, threads=0)


@pytest.mark.parametrize(
    ("family", "first"), [("mobilenet_v1", "litert"), ("mobilenet_v2", "litert"), ("inception_v2", "openvino")]
)
def test_the_first_runtime_depends_on_depthwise_convolutions(family, first):
    model = network(family)
    assert fastest_first(model)[0] == fastest_first(keras.Sequential([model]))[0] == first
    assert sorted(fastest_first(model)) == sorted(table.RUNTIMES)
