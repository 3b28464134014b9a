"""The archives of the published models: URLs, sha256, size and content of each, from the table ``archives.csv``.

Rows of a model are in order: first the archive that the pages of its hub modules name. MobileNet V1 has a second one,
of 2018-08-02, with the same weights and newer LiteRT files. The column ``source`` says who published the sha256.
`mobilenets.get_model_info` reads the same table.
"""

import csv
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("archives.csv")


class Archive(NamedTuple):
    """An archive of a published model.

    Attributes:
        model: the name of the model.
        file: the name of the file.
        urls: where it is or was, in the order to try; the first one identifies it in the cache.
        sha256: its pinned sha256; None if it is not known.
        bytes: its size; None if it is not known.
    """

    model: str
    file: str
    urls: tuple[str, ...]
    sha256: str | None
    bytes: int | None

    @property
    def url(self) -> str:
        """The first URL."""
        return self.urls[0]


def _registry() -> dict[str, tuple[Archive, ...]]:
    archives: dict[str, tuple[Archive, ...]] = {}
    with TABLE.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            size = int(row["bytes"]) if row["bytes"] else None
            archive = Archive(row["model"], row["file"], tuple(row["urls"].split()), row["sha256"] or None, size)
            archives[archive.model] = (*archives.get(archive.model, ()), archive)
    return archives


REGISTRY = _registry()
"""``{name of a published model: its archives}``."""


def pinned(digest: str) -> Archive | None:
    """Returns the archive that has a sha256, or None."""
    return next((archive for archives in REGISTRY.values() for archive in archives if archive.sha256 == digest), None)


def archive_at(url: str) -> Archive | None:
    """Returns the archive that has a URL, or None."""
    return next((archive for archives in REGISTRY.values() for archive in archives if url in archive.urls), None)
