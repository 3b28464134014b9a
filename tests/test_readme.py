"""The README tells the truth: its table of models is the published one, and its code runs."""

import pathlib
import re
import shlex
import tarfile

import pytest
from click.testing import CliRunner

import checkpoints
import mobilenets
from converters.cli import main
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def models_table():
    lines = [
        "| name | size | multiplier | features | parameters | MACs (M) | top-1 | top-5 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for info in map(mobilenets.get_model_info, mobilenets.list_models()):
        size = f"{info.image_size}" if info.fixed_image_size else f"{info.image_size}, any"
        lines.append(
            f"| `{info.name}` | {size} | {info.depth_multiplier:g} | {info.num_features} | {info.parameters:,} | "
            f"{info.macs / 1e6:.1f} | {info.top1} | {info.top5} |"
        )
    return "\n".join(lines)


def test_table_of_models():
    _, _, rest = README.partition("<!-- models: begin (kept true by tests/test_readme.py) -->\n")
    table, _, _ = rest.partition("\n<!-- models: end -->")
    assert table == models_table()


def code_blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def published_files(tmp_path_factory):
    """The files that the README names, with made-up weights: archives as published, and a frozen graph."""
    folder = tmp_path_factory.mktemp("published")
    archives = {
        "mobilenet_v2_0.35_96.tgz": ("mobilenet_v2", 0.35, 2),
        "mobilenet_v2_0.35_128.tgz": ("mobilenet_v2", 0.35, 2),
        "mobilenet_v1_0.75_224.tgz": ("mobilenet_v1", 0.75, 2),
        "inception_v2_2016_08_28.tar.gz": ("inception_v2", 1.0, 1),
    }
    for name, (family, multiplier, version) in archives.items():
        variables = made_up_variables(variable_shapes(family, multiplier))
        prefix = folder / "staged" / (name.removesuffix(".tgz") + ".ckpt" if version == 2 else "inception_v2.ckpt")
        prefix.parent.mkdir()
        checkpoints.save_checkpoint(variables, prefix, version=version)
        with tarfile.open(folder / name, "w:gz") as archive:
            for member in sorted(prefix.parent.iterdir()):
                archive.add(member, member.name)
                member.unlink()
        prefix.parent.rmdir()
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35))
    freeze(folder / "mobilenet_v2_0.35_96_frozen.pb", "mobilenet_v2", variables, depth_multiplier=0.35, image_size=96)
    return folder


def test_python_code_runs(published_files, monkeypatch):
    """All blocks in order, as somebody types them who reads from top to bottom."""
    monkeypatch.chdir(published_files)
    names = {}
    for block in code_blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["classifier"].output_shape == (None, 5)
    assert names["probabilities"].shape == (1, 1001)
    assert names["features"].shape == (1, 1024)
    assert (published_files / "module" / "saved_model.pb").is_file()


def test_commands_run(published_files, shared, monkeypatch):
    monkeypatch.chdir(published_files)
    (published_files / "panda.jpg").write_bytes((shared / "images" / "panda.jpg").read_bytes())
    lines = [line for block in code_blocks("sh") for line in block.splitlines() if line.startswith("mobilenets ")]
    assert len(lines) >= 3
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
