"""The documentation tells the truth: its code runs, its links lead somewhere, its table of models is the published one.

Every page is read from top to bottom, as somebody does who types along: blocks of Python share their names, commands
run in the same folder. Files that a page names stand there with made-up weights (`tests.documents`). Blocks marked
``text`` are what the reader had before and cannot run any more; they begin with "# before".
"""

import importlib.util
import re
import shlex

import pytest
from click.testing import CliRunner

import mobilenets
from checkpoints.archives import REGISTRY
from converters.cli import main
from docs.make_pages import models_page
from docs.make_picture import network_svg
from tests.documents import PAGES, PYPROJECT, ROOT, Files, pieces

EXTRAS = PYPROJECT["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
# What a page needs beyond the extra `test`: a module, and why it is not there.
NEEDS = {"docs/many-machines.md": ("apache_beam", "the extra `beam` is not installed")}


def text_of(page):
    return (ROOT / page).read_text()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("published"))


@pytest.mark.filterwarnings("ignore::converters.ConversionWarning")
@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page, files, tmp_path, monkeypatch):
    needed, why = NEEDS.get(page, ("mobilenets", ""))
    if importlib.util.find_spec(needed) is None:
        pytest.skip(why)
    code = "\n".join(piece.code for piece in pieces(text_of(page)))
    (tmp_path / "here").mkdir()
    for name, row in files.put(code, tmp_path / "here", tmp_path / "cache").items():
        monkeypatch.setitem(REGISTRY, name, row)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "__main__"}
    for piece in pieces(text_of(page)):
        if piece.language == "python":
            # Line numbers of the page in a traceback.
            exec(compile("\n" * piece.line + piece.code, str(ROOT / page), "exec"), names)
        elif piece.language == "sh":
            for line in piece.code.replace("\\\n", " ").splitlines():
                run_command(line)
        else:
            assert piece.language == "text", f"line {piece.line}: {piece.language!r} is no language of these pages"
            assert piece.code.startswith("# before"), f"line {piece.line}: code that does not run"
    if page == "README.md":  # what its comments say
        assert names["classifier"].output_shape == (None, 5)
        assert names["probabilities"].shape == (1, 1001)
        assert names["features"].shape == (1, 1024)
        assert (tmp_path / "here" / "module" / "saved_model.pb").is_file()


@pytest.mark.filterwarnings("ignore::converters.ConversionWarning")
def test_the_recipe_of_fine_tuning_learns_from_published_weights(shared, tmp_path, monkeypatch):
    checkpoint = shared / "real" / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt"
    page, _, _ = text_of("docs/fine-tuning.md").partition("Loaded again, the model")
    monkeypatch.chdir(tmp_path)
    names = {}
    for piece in pieces(page):
        exec(piece.code.replace('"mobilenet_v1_025_128"', repr(str(checkpoint))), names)
    assert names["history"].history["val_accuracy"][-1] > 0.8  # by chance: a third


def run_command(line):
    """Runs the project's own program; of other programs, looks at what they are asked for."""
    words = shlex.split(line, comments=True)
    match words:
        case []:
            pass
        case ["mobilenets", *arguments]:
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, (line, result.output, result.exception)
        case ["pip", "install", *wanted]:
            for requirement in wanted:
                match = re.fullmatch(r"(?:\.|mobilenets)(?:\[([\w,-]+)\])?", requirement)
                assert match and {*(match[1] or "test").split(",")} <= EXTRAS.keys(), line
        case ["make", target, *_]:
            assert target in TARGETS, line
        case ["python" | ".venv/bin/python", "-m", module, *_]:
            assert importlib.util.find_spec(module), line
        case [program] if "/" in program:
            assert (ROOT / program).is_file(), line
        case _:
            pytest.fail(f"{line!r} is not tested")


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "benchmarks/README.md", "tests/golden/README.md"])
def test_links(page):
    """Files that exist, and headings that exist in them."""
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link or link == "results/latency.png":  # a plot that `make bench` draws
            continue
        file, _, heading = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, link


def test_every_page_is_named_in_the_readme():
    named = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", text_of("README.md")))
    assert named == {page for page in PAGES if page.startswith("docs/")}


def test_every_page_says_where_its_files_come_from():
    for page in PAGES:
        if page.startswith("docs/"):
            assert text_of(page).splitlines()[2].startswith("**Files:** "), page


def test_readme_is_short():
    assert len(text_of("README.md").splitlines()) < 200


def test_extras_exist():
    """Also those in the messages of the programs."""
    sources = [path for name in ("mobilenets", "converters", "checkpoints") for path in (ROOT / name).rglob("*.py")]
    texts = [*map(text_of, PAGES), *(path.read_text() for path in sources), text_of("pyproject.toml")]
    named = {
        extra
        for text in texts
        for group in re.findall(r"(?:mobilenets|\.)\[([a-z,-]+)\]", text)
        for extra in group.split(",")
    }
    assert {"onnx", "openvino", "embed", "plots"} <= named <= EXTRAS.keys()


def test_citation_and_changes_name_the_version():
    version = PYPROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in text_of("CITATION.cff")
    assert version in text_of("CHANGELOG.md")
    for paper in ("1704.04861", "1801.04381", "1502.03167"):
        assert f"arXiv:{paper}" in text_of("CITATION.cff")


def test_table_of_models():
    page = text_of("docs/models.md")
    assert page == models_page()
    assert page.count("| `") == len(mobilenets.list_models())


def test_picture():
    """Made by the code, small, and of every convolution."""
    picture = text_of("docs/network.svg")
    assert picture == network_svg() and len(picture) < 10_000
    assert "](docs/network.svg)" in text_of("README.md")
    assert picture.count("<title>MobilenetV2/") == 53
