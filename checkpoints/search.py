"""One search for a file through all sources: the cache, mirrors, URLs, hub modules, Kaggle, Hugging Face."""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from checkpoints import cache as store
from checkpoints import files, hugging_face, kaggle
from checkpoints.download import discard, offline
from checkpoints.errors import CheckpointError, DownloadError, reason
from checkpoints.plain_text import public_url, shown
from checkpoints.reach import unreachable

MIRRORS_VARIABLE = "MOBILENETS_MIRRORS"


class Fetched(NamedTuple):
    """A file, and the URL or path that it first came from."""

    path: Path
    origin: str


class Candidate(NamedTuple):
    """A file that would do.

    Attributes:
        url: identifies it in the cache.
        file: its name in the cache.
        under: its path below a mirror.
        urls: where it is published, in order.
        sha256: its pinned sha256, None if there is none.
        first_use: whether it is trusted on first use if it has none.
    """

    url: str
    file: str
    under: str
    urls: tuple[str, ...]
    sha256: str | None
    first_use: bool


def mirrors() -> list[str]:
    """Returns the folders and base URLs in ``MOBILENETS_MIRRORS``, separated by commas, lines or as in ``PATH``."""
    text = os.environ.get(MIRRORS_VARIABLE, "")
    # The colons of http://user:password@host:port/path separate nothing.
    separator = re.escape(os.pathsep)
    pattern = (
        rf"https?://(?:[^\s,/@]*@)?[^\s,;:/]*(?::\d+)?(?:/[^\s,{separator}]*)?|[^\s,{separator}][^\n,{separator}]*"
    )
    return [base.strip() for base in re.findall(pattern, text) if base.strip()]


class Search:
    """One search through all sources, and the answer of each: ``(source, answer)``."""

    def __init__(
        self,
        cache: str | os.PathLike[str] | None,
        allow_unpinned: bool,
        request: Callable[[str, Path], None],
    ):
        self.cache, self.allow_unpinned, self.request = cache, allow_unpinned, request
        self.answers: list[tuple[str, str]] = []
        self._unreachable: dict[str, str] = {}

    def run(self, groups: Sequence[Sequence[Candidate]], repository: str | None = None) -> Fetched | None:
        """Returns the first file that a source has and that is accepted.

        Args:
            groups: the files that are accepted, the better first.
            repository: the repository of the Hugging Face Hub to ask last.
        """
        if result := self._recorded(groups):  # without a lock: the cache may be read-only
            return result
        first = self._path(groups[0][0])
        bases = mirrors()
        try:
            with store.locked(first):
                self._connect(base for base in bases if _is_url(base))
                for group in groups:
                    result = self._cached(group) or self._mirrored(group, bases)
                    if not result and group is groups[0]:
                        published = [url for some in groups for item in some for url in item.urls]
                        self._connect([*published, kaggle.SITE, *([hugging_face.site()] if repository else [])])
                    result = result or self._published(group)
                    if result:
                        return result
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            why = error.strerror or reason(error)
            raise DownloadError(f"{first.name} cannot be stored in {first.parent}: {why}.") from error
        return self._from_kaggle(groups[-1][-1]) or self._from_hugging_face(repository)

    def _path(self, candidate: Candidate) -> Path:
        return store.path_of(candidate.url, self.cache, candidate.file)

    def _connect(self, urls: Iterable[str]) -> None:
        if not offline():
            self._unreachable |= unreachable(urls)

    def _recorded(self, groups: Iterable[Sequence[Candidate]]) -> Fetched | None:
        for group in groups:
            for candidate in group:
                file = self._path(candidate)
                try:
                    if store.is_recorded(file):
                        self._check(file, candidate, group)
                        return Fetched(file, store.origin(file) or candidate.url)
                except CheckpointError:
                    continue  # `_cached` keeps the reason
        return None

    def _cached(self, group: Sequence[Candidate]) -> Fetched | None:
        for candidate in group:
            file = self._path(candidate)
            answer = "not there"
            if file.exists():
                try:
                    self._check(file, candidate, group)
                    if not store.is_recorded(file):
                        store.write_record(candidate.url, file, files.sha256(file))
                    return Fetched(file, store.origin(file) or candidate.url)
                except CheckpointError as error:
                    answer = _without(error, file)
            self.answers.append((str(file), answer))
        return None

    def _mirrored(self, group: Sequence[Candidate], bases: Iterable[str]) -> Fetched | None:
        """From the folders and base URLs in ``MOBILENETS_MIRRORS``."""
        items = list({item.under: item for item in reversed(group)}.values())
        for base in bases:
            for item in items:
                if _is_url(base):
                    result = self._from_url(f"{base.rstrip('/')}/{item.under}", item, group, base)
                else:
                    result = self._from_file(Path(base).expanduser() / item.under, item, group)
                if result:
                    return result
        return None

    def _published(self, group: Sequence[Candidate]) -> Fetched | None:
        """From the URLs that the files were published at."""
        for candidate in group:
            if not (candidate.sha256 or candidate.first_use or self.allow_unpinned):
                self.answers.append((candidate.url, "not asked: no sha256 of it is known (--allow-unpinned asks)"))
                continue
            for url in candidate.urls:
                if result := self._from_url(url, candidate, group, url):
                    return result
        return None

    def _from_file(self, source: Path, candidate: Candidate, group: Sequence[Candidate]) -> Fetched | None:
        if not source.is_file():
            self.answers.append((str(source), "not there"))
            return None
        part = self._part(str(source), candidate)
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            discard(part)
            self.answers.append((str(source), error.strerror or reason(error)))
            return None
        return self._kept(part, str(source), candidate, group)

    def _from_url(self, url: str, candidate: Candidate, group: Sequence[Candidate], host: str) -> Fetched | None:
        part = self._part(url, candidate)
        try:
            if host in self._unreachable:
                raise DownloadError(self._unreachable[host])
            self.request(url, part)
        except DownloadError as error:
            self.answers.append((url, _without(error, url)))
            return None
        return self._kept(part, url, candidate, group)

    def _part(self, source: str, candidate: Candidate) -> Path:
        """Returns a part of its own for each source: the rest of one file never follows the beginning of another."""
        file = self._path(candidate)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.with_name(f"{file.name}.{store.short_digest(source)}.part")

    def _kept(self, part: Path, source: str, candidate: Candidate, group: Sequence[Candidate]) -> Fetched | None:
        """Moves a complete download into the cache, under the name of the archive whose sha256 it has."""
        try:
            file = self._path(self._check(part, candidate, group))
            store.check_complete(source, part, gzipped=True)
        except CheckpointError as error:
            discard(part)
            self.answers.append((source, _without(error, part, source)))
            return None
        store.keep(part, file, source)
        for rest in part.parent.glob("*.part*"):
            rest.unlink(missing_ok=True)
        return Fetched(file, public_url(source))

    def _check(self, file: Path, candidate: Candidate, group: Sequence[Candidate]) -> Candidate:
        """Returns which of the files it is, and refuses one that is none."""
        digest = files.sha256(file)
        for item in group:
            if item.sha256 == digest:
                return item
        pins = [item.sha256 for item in group if item.sha256]
        if self.allow_unpinned or candidate.first_use:
            store.check_recorded(self._path(candidate), file, digest)
            return candidate
        known = f"the pinned sha256 is {' or '.join(pins)}" if pins else "no sha256 is pinned"
        raise DownloadError(f"{file} has the sha256 {digest}, but {known}.")

    def _from_kaggle(self, module: Candidate) -> Fetched | None:
        name = kaggle.handle(module.under.removesuffix(".tar.gz"))
        if name is None:
            return None
        return self._folder(f"kaggle.com: {name}", lambda: kaggle.download(name, self._unreachable.get(kaggle.SITE)))

    def _from_hugging_face(self, repository: str | None) -> Fetched | None:
        if repository is None:
            return None
        name = f"{hugging_face.SCHEME}{repository}"
        return self._folder(name, lambda: hugging_face.download(name, self._unreachable))

    def _folder(self, source: str, download: Callable[[], Path]) -> Fetched | None:
        """From a package that has a cache of its own."""
        try:
            return Fetched(download(), source)
        except DownloadError as error:
            self.answers.append((source, _without(error, source)))
            return None


def _is_url(base: str) -> bool:
    return re.match(r"https?://", base) is not None


def _without(error: Exception, *sources: str | Path) -> str:
    """Returns the message of an error without the source that it begins with, and without its full stop."""
    text = str(error)
    for source in sources:
        text = text.removeprefix(f"{shown(str(source))} ")
    return text.rstrip(".")
