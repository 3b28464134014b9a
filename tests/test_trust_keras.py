"""A `.keras` file with code in it is refused by every command that opens one, and no pickle is ever read."""

import ast
import pathlib

import keras
import pytest
from click.testing import CliRunner

from converters.cli import main

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = {
    "verify": ["verify", "net.keras", "reference.json"],
    "predict": ["predict", "net.keras", "photo.png"],
    "evaluate": ["evaluate", "net.keras", "."],
    "embed": ["embed", "net.keras", "photo.png", "-o", "out.npz"],
    "info": ["info", "net.keras"],
    "export": ["export", "net.keras", "out", "--format", "savedmodel"],
    "export unfused": ["export", "net.keras", "out", "--format", "savedmodel", "--unfused"],
}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder with ``net.keras``, whose Lambda layer would write a file ``sprung``."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Lambda(lambda x: [__import__("pathlib").Path("sprung").touch(), x][1])(inputs)
    keras.Model(inputs, outputs).save("net.keras")
    (tmp_path / "sprung").unlink()
    (tmp_path / "reference.json").write_text("{}")
    keras.utils.save_img("photo.png", keras.ops.zeros((32, 32, 3)))
    return tmp_path / "sprung"


@pytest.mark.parametrize("name", COMMANDS)
def test_code_in_a_model_is_not_run(hostile, name):
    result = CliRunner().invoke(main, COMMANDS[name])
    assert result.exit_code == 2, result.output
    assert "net.keras" in result.stderr and "Lambda" in result.stderr
    assert "Traceback" not in result.stderr
    assert not hostile.exists()


def test_nothing_that_reads_pickles_is_called():
    """Every `np.load` says allow_pickle=False, every model is loaded in safe mode, nobody imports a pickler."""
    found = 0
    modules = [
        path for package in ("mobilenets", "checkpoints", "converters") for path in (ROOT / package).rglob("*.py")
    ]
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert names.isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}), path
            if not isinstance(node, ast.Call):
                continue
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            called = ast.unparse(node.func)
            if called == "np.load":
                found += 1
                assert keywords.get("allow_pickle") == "False", path
            if called.endswith("saving.load_model"):
                found += 1
                assert keywords.get("safe_mode") == "True", path
            assert not called.endswith("enable_unsafe_deserialization"), path
    assert found >= 3
