"""The pages of the documentation, taken apart, and the made-up files that stand under the names in them."""

import itertools
import pathlib
import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import checkpoints
import converters
import mobilenets
from checkpoints.archives import REGISTRY
from checkpoints.cache import path_of
from examples.shapes import make_shapes
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)


class Piece(NamedTuple):
    """Code on a page: a fenced block with its language, or a cell of a column "now", which is Python."""

    language: str
    code: str
    line: int


def pieces(text: str) -> Iterator[Piece]:
    """The code of a page from top to bottom."""
    lines = enumerate(text.splitlines(), 1)
    in_table = False
    for number, line in lines:
        if line.startswith("```"):
            code = [code for _, code in itertools.takewhile(lambda numbered: numbered[1] != "```", lines)]
            yield Piece(line[3:], "\n".join(code), number)
        if not line.startswith("|"):
            in_table = False
            continue
        last = line.strip("| ").rpartition(" | ")[2]
        if in_table:
            yield from (Piece("python", code, number) for code in re.findall(r"`([^`]+)`", last))
        in_table = in_table or last == "now"


class Files:
    """Makes each of the files once, when a page names it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.makers = {
            **{
                name: lambda path, facts=facts: _archive(path, *facts)
                for name, facts in {
                    "mobilenet_v2_0.35_96.tgz": ("mobilenet_v2", 0.35, 2),
                    "mobilenet_v2_0.35_128.tgz": ("mobilenet_v2", 0.35, 2),
                    "mobilenet_v1_0.25_128.tgz": ("mobilenet_v1", 0.25, 2),
                    "mobilenet_v1_0.75_224.tgz": ("mobilenet_v1", 0.75, 2),
                    "inception_v2_2016_08_28.tar.gz": ("inception_v2", 1.0, 1),
                }.items()
            },
            "mobilenet_v2_0.35_96_frozen.pb": _frozen_graph,
            "mobilenet_v1_025_128_module": _module,
            "panda.jpg": lambda path: _photograph(path, 3),
            "photos": lambda path: _photographs(path, 8),
            "validation": _class_folders,
            "labels.txt": lambda path: path.write_text("".join(f"kind {index}\n" for index in range(1001))),
        }

    def put(self, text: str, place: pathlib.Path, cache: pathlib.Path) -> dict[str, tuple]:
        """Puts what the text names into a folder, and what it fetches into a cache.

        Returns:
            Rows for the registry, with the sha256 of the made-up archives.
        """
        rows = {}
        for name in self.makers:
            if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text):
                (place / name).symlink_to(self._made(name))
        for name in mobilenets.list_models():
            first = REGISTRY[name][0]
            if first.file in self.makers and re.search(rf"(?<!\w){name}(?!\w)", text):
                file = self._made(first.file)
                self._keep(first.url, file, cache)
                rows[name] = (first._replace(sha256=checkpoints.sha256(file)),)
        return rows

    def _made(self, name: str) -> pathlib.Path:
        path = self.folder / name
        if not path.exists():
            self.makers[name](path)
        return path

    def _keep(self, url: str, file: pathlib.Path, cache: pathlib.Path) -> None:
        kept = path_of(url, cache)
        kept.parent.mkdir(parents=True)
        kept.symlink_to(file)


def _archive(path: pathlib.Path, family: str, multiplier: float, version: int) -> None:
    """An archive as published: a V2 checkpoint, or Inception's in V1 format."""
    folder = path.with_name(f"{path.name}.members")
    folder.mkdir()
    prefix = folder / (path.name.removesuffix(".tgz") + ".ckpt" if version == 2 else "inception_v2.ckpt")
    checkpoints.save_checkpoint(made_up_variables(variable_shapes(family, multiplier)), prefix, version=version)
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for member in sorted(folder.iterdir()):
            archive.add(member, member.name)


def _frozen_graph(path: pathlib.Path) -> None:
    variables = made_up_variables(variable_shapes("mobilenet_v2", 0.35))
    freeze(path, "mobilenet_v2", variables, depth_multiplier=0.35, image_size=96)


def _module(path: pathlib.Path) -> None:
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25, num_classes=None))
    converters.export_hub(converters.convert(variables, head="feature_vector", input_shape=(128, 128, 3)), path)


def _photograph(path: pathlib.Path, seed: int) -> None:
    import tensorflow as tf

    (image,), _ = make_shapes(1, 160, seed)
    path.write_bytes(tf.io.encode_jpeg((255 * image).astype(np.uint8)).numpy())


def _photographs(path: pathlib.Path, count: int) -> None:
    path.mkdir()
    for number in range(count):
        _photograph(path / f"{number}.jpg", number)


def _class_folders(path: pathlib.Path) -> None:
    for number in (389, 780):
        (path / f"{number:04d}").mkdir(parents=True)
        _photograph(path / f"{number:04d}" / "first.jpg", number)
