"""The layout: imports have one direction, and no modules or packages import each other in a circle."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("mobilenets", "checkpoints", "converters")
# The names of a single import, and `python -m mobilenets`: both load `converters` only when they are used.
TO_CONVERTERS = {"mobilenets.aliases", "mobilenets.__main__"}
LONGEST = 300


def modules() -> dict[str, pathlib.Path]:
    """Returns ``{module: file}`` without the packages' own files, which import lazily."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file.name != "__init__.py"]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}


def imported(file: pathlib.Path) -> set[str]:
    """Returns what a file imports anywhere, but for the types that only a type checker needs."""
    names = set()
    nodes = [ast.parse(file.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return names


def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: imported(file) & known.keys() - {name} for name, file in known.items()}


def package(module: str) -> str:
    """Returns the package of a module; a module at the top of `converters` stands for itself."""
    parts = module.split(".")
    return parts[0] if parts[0] != "converters" else ".".join(parts[:2])


def test_imports_have_one_direction():
    for module, others in arrows().items():
        roots = {other.split(".")[0] for other in others} - {module.split(".")[0]}
        allowed = {"converters"} if module in TO_CONVERTERS else set()
        assert roots <= ({"mobilenets", "checkpoints"} if module.startswith("converters") else allowed), module


def test_no_circle_of_modules_or_packages():
    graph = {module: others for module, others in arrows().items() if module not in TO_CONVERTERS}
    graphlib.TopologicalSorter(graph).prepare()
    packages: dict[str, set[str]] = {}
    for module, others in graph.items():
        packages.setdefault(package(module), set()).update(set(map(package, others)) - {package(module)})
    graphlib.TopologicalSorter(packages).prepare()
    assert len(packages) > 20


def test_a_circle_would_be_noticed():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def test_modules_are_short():
    long = {name: lines for name, file in modules().items() if (lines := file.read_text().count("\n")) > LONGEST}
    assert not long
