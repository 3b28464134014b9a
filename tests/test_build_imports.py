"""What `import mobilenets` imports, and the networks on every backend of Keras."""

import ast
import doctest
import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import mobilenets

ROOT = pathlib.Path(__file__).parents[1]
CONSTANTS = {"CONSTRUCTORS", "PUBLISHED_CLASSES", "SCOPES"}


def run(code: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_table_needs_neither_keras_nor_tensorflow():
    code = """
import sys, mobilenets
assert set(mobilenets.__all__) >= {
    "InceptionV2", "MobileNetV1", "MobileNetV2", "ModelInfo", "build", "endpoints", "get_model_info", "list_models",
    "preprocess", "variable_shapes", "widths",
}
assert mobilenets.get_model_info("mobilenet_v2_035_96").macs == 11935408
assert len(mobilenets.list_models()) == 45
assert mobilenets.widths("mobilenet_v2", 1.4)["MobilenetV2/Conv_1"] == 1792
mobilenets.preprocess
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    assert run(code).strip() == "[]"


@pytest.mark.core
def test_public_names_are_importable_and_documented():
    code = """
import mobilenets
from mobilenets import endpoints, build, preprocess
for name in set(mobilenets.__all__) - {"CONSTRUCTORS", "PUBLISHED_CLASSES", "SCOPES"}:
    assert callable(getattr(mobilenets, name)), name
    assert getattr(mobilenets, name).__doc__, name
assert mobilenets.PUBLISHED_CLASSES == 1001
assert list(mobilenets.CONSTRUCTORS) == list(mobilenets.SCOPES)
constructors = [constructor.__name__.lower() for constructor in mobilenets.CONSTRUCTORS.values()]
assert constructors == [scope.lower() for scope in mobilenets.SCOPES.values()]
"""
    run(code)


@pytest.mark.parametrize("name", sorted(set(mobilenets.__all__) - CONSTANTS - {"ModelInfo"}))
def test_examples_in_docstrings(name):
    """Every public function has an example, and it computes what it shows."""
    model = mobilenets.MobileNetV1(0.25, (32, 32, 3))
    names = {"mobilenets": mobilenets, "keras": keras, "np": np, "model": model}
    docstring = getattr(mobilenets, name).__doc__
    assert "Example:" in docstring
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_public_names_are_typed():
    """Editors and type checkers read the public names from the stub."""
    assert (ROOT / "mobilenets" / "py.typed").is_file()
    tree = ast.parse((ROOT / "mobilenets" / "__init__.pyi").read_text())
    assert all(isinstance(node, ast.ImportFrom) for node in tree.body)
    aliases = [alias for node in tree.body for alias in node.names]
    assert all(alias.asname == alias.name for alias in aliases)
    assert sorted(alias.name for alias in aliases) == sorted(mobilenets.__all__)


FORWARD = """
import sys, keras, numpy as np, mobilenets
sys.path.insert(0, ".")
from tests import golden
from tests.networks import CONSTRUCTORS, set_weights
assert keras.config.backend() == "{backend}"
assert "tensorflow" not in sys.modules
for case in ("x_v1_os8", "x_v2_0.9_97x129", "x_iv2_1.0_192x160"):
    meta, arrays = golden.load(case)
    choices = {{"output_stride": 8, "head": "feature_map"}} if "os8" in case else {{}}
    model = CONSTRUCTORS[meta["family"]](meta["depth_multiplier"], (meta["height"], meta["width"], 3), **choices)
    set_weights(model, golden.variables(meta))
    *_, last = (name for name in mobilenets.endpoints(model) if not name.endswith("Predictions"))
    everything = keras.Model(model.input, mobilenets.endpoints(model))
    out = everything.predict(golden.images(meta["height"], meta["width"]), verbose=0)[last]
    largest = np.abs(out).max()
    actual = out.ravel()[::golden.OUT_STEP] if choices else out
    np.testing.assert_allclose(actual, arrays["out32"], rtol=0, atol=2e-5 * largest, err_msg=case)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run(FORWARD.format(backend=backend), KERAS_BACKEND=backend)
