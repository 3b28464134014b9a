"""The wheel: what is in it, what it says of itself, and that its program runs where the clone is not."""

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from packaging.requirements import Requirement

import checkpoints
import mobilenets
from tests.documents import PYPROJECT, ROOT
from tests.oracle.recipes import made_up_variables

PROJECT = PYPROJECT["project"]
PACKAGES = ("mobilenets", "checkpoints", "converters")


def succeed(*command, **choices):
    """Standard output of a command that must end well."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **choices)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, as building leaves folders behind. Nothing is downloaded: setuptools comes with the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "demo-output")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    succeed(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, folder / "source")
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel):
    """The folder of a virtual environment with the wheel in it; what it needs is taken from the one of the tests."""
    folder = wheel.parent / "environment"
    succeed(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    succeed(*pip, "install", "--no-deps", "--no-index", wheel)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A path from a .pth file is searched last, and .pth files there (of the clone) are not read.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def run(environment, tmp_path):
    """Runs a program of that environment in an empty folder."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program, *arguments):
        return succeed(environment / "bin" / program, *arguments, cwd=tmp_path, env=variables)

    return run


def test_content(wheel):
    """All modules and data files of the packages, and nothing else."""
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    information = f"mobilenets-{PROJECT['version']}.dist-info"
    expected |= {
        f"{information}/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == expected
        assert archive.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert wheel.name.endswith("-py3-none-any.whl")


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"mobilenets-{PROJECT['version']}.dist-info/METADATA").decode()
    metadata = email.message_from_string(text)
    assert metadata["Name"] == "mobilenets"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert set(metadata.get_all("Provides-Extra")) == PROJECT["optional-dependencies"].keys()

    output = {(str(Requirement(line.partition(";")[0])), extra_of(line)) for line in metadata.get_all("Requires-Dist")}
    expected = {(str(Requirement(line)), None) for line in PROJECT["dependencies"]} | {
        (str(Requirement(line)), extra) for extra, lines in PROJECT["optional-dependencies"].items() for line in lines
    }
    assert output == expected


def extra_of(line):
    """The extra that a requirement in the metadata is for."""
    condition = line.partition(";")[2].strip()
    return condition.removeprefix('extra == "').removesuffix('"') if condition else None


def test_program(run, environment):
    for package in PACKAGES:
        assert run("python", "-c", f"import {package}; print({package}.__file__)").startswith(str(environment))
    assert "verify" in run("mobilenets", "--help")
    assert run("mobilenets", "--version").split()[-1] == PROJECT["version"]
    listed = json.loads(run("mobilenets", "list", "--json"))
    assert [info["name"] for info in listed] == mobilenets.list_models()


def test_conversion_and_report(run, tmp_path):
    """With the files that are data: the template of the page."""
    variables = made_up_variables(mobilenets.variable_shapes("mobilenet_v1", 0.25))
    checkpoints.save_checkpoint(variables, tmp_path / "mobilenet_v1_0.25_128.ckpt")
    output = json.loads(run("mobilenets", "convert", "mobilenet_v1_0.25_128.ckpt", "-o", "model.keras", "--json"))
    assert output["configuration"]["name"] == "mobilenet_v1_025_128"
    arguments = ("verify", "model.keras", "mobilenet_v1_0.25_128.ckpt", "--report", "page.html", "--json")
    assert json.loads(run("mobilenets", *arguments))["passed"]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
