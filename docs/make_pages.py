"""Makes the pages of the site in ``site-pages/``: those of ``docs/``, and those that the code itself gives.

    python -m docs.make_pages

The API reference lists every public name, the page of the command line is the help of the commands, and the table of
the published models comes from `mobilenets.list_models`. TensorFlow and Keras are not needed.
"""

import ast
import pathlib
import re
import shutil

import click

import mobilenets
from converters.cli import main as program

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ROOT / "site-pages"
TABLE_HEAD = """| name | size | multiplier | features | parameters | MACs (M) | top-1 | top-5 |
|---|---|---|---|---|---|---|---|
"""


def models_page() -> str:
    """Returns the page ``docs/models.md``."""
    infos = [mobilenets.get_model_info(name) for name in mobilenets.list_models()]
    rows = [
        f"| `{info.name}` | {info.image_size}{'' if info.fixed_image_size else ', any'} | {info.depth_multiplier:g} | "
        f"{info.num_features} | {info.parameters:,} | {info.macs / 1e6:.1f} | {info.top1} | {info.top5 or '-'} |\n"
        for info in infos
    ]
    return (
        f"# The {len(infos)} published models\n\n"
        "**Files:** none are needed.\n\n"
        "This page is made by `python -m docs.make_pages`. Parameters and MACs are counted (with 1001 logits); top-1\n"
        "and top-5 are the published ImageNet accuracies in percent; Google published no top-5 for MobileNet V3.\n"
        'Sizes marked "any" are those of the training.\n\n'
        f"{TABLE_HEAD}{''.join(rows)}"
    )


def command_line_page() -> str:
    """Returns the help of every command."""
    texts = ["# The command line\n"]
    for name, command in program.commands.items():
        context = click.Context(command, info_name=f"mobilenets {name}", max_content_width=100)
        texts.append(f"## mobilenets {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(texts)


def public_names() -> dict[str, list[str]]:
    """Returns package -> identifiers of its public names, read from the declarations without importing them."""
    stub = ast.parse((ROOT / "mobilenets" / "__init__.pyi").read_text())
    names = {
        "mobilenets": [
            f"mobilenets.{i.module}.{a.name}" for i in stub.body if isinstance(i, ast.ImportFrom) for a in i.names
        ]
    }
    for package in ("converters", "checkpoints"):
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        found: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
                table = ast.literal_eval(node.value)
                found += [f"{package}.{module}.{name}" for module, attributes in table.items() for name in attributes]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
                found += [f"{node.module}.{alias.name}" for alias in node.names]
        names[package] = found
    return names


def make() -> None:
    """Writes all pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "api").mkdir(parents=True)
    for page in (ROOT / "docs").glob("*.md"):
        # Files outside of docs/ are not part of the site.
        text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", page.read_text())
        (PAGES / page.name).write_text(text)
    (PAGES / "index.md").write_text((PAGES / "quick-start.md").read_text())
    (PAGES / "models.md").write_text(models_page())
    (PAGES / "command-line.md").write_text(command_line_page())
    for package, names in public_names().items():
        entries = "\n".join(f"::: {name}\n" for name in sorted(set(names)))
        (PAGES / "api" / f"{package}.md").write_text(f"# {package}\n\n{entries}")


if __name__ == "__main__":
    make()
    (ROOT / "docs" / "models.md").write_text(models_page())
