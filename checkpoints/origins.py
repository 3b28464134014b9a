"""Fetches published models from wherever they still are: the cache, mirrors, the registry's URLs, hub modules.

A file whose sha256 is pinned is genuine, no matter where it comes from, and any other file in its place is refused.
What each source answers is kept, and all answers are in the error if no source has the file.
"""

import difflib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from checkpoints import cache as store
from checkpoints import files, hugging_face, kaggle
from checkpoints.archives import REGISTRY, archive_at
from checkpoints.download import Progress, discard, download, offline
from checkpoints.errors import CheckpointError, DownloadError, reason
from checkpoints.hub_handles import module_path, module_urls
from checkpoints.plain_text import public_url, shown
from checkpoints.reach import unreachable

MIRRORS_VARIABLE = "MOBILENETS_MIRRORS"
SOURCE_TRIES = 2


class Fetched(NamedTuple):
    """A file, and the URL or path that it first came from."""

    path: Path
    origin: str


class _Wanted(NamedTuple):
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


def fetch(
    name_or_url: str,
    *,
    cache: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
    tries: int = 5,
    allow_unpinned: bool = False,
) -> Path:
    """Returns the path of a published archive, or of another file, which is downloaded on first use.

    A published model is looked for in the cache, in the folders and below the URLs that the environment variable
    ``MOBILENETS_MIRRORS`` lists, at the URLs of the registry, and at last as a TF-Hub module of the same model. The
    sha256 of its archive must be the pinned one. A hub handle means the module itself.

    A file gets its final name when it is complete; an archive compressed by gzip is decompressed first, to detect
    error pages and incomplete files. Its sha256 is recorded in ``<file>.json`` and compared with later downloads and
    at every call. If several processes fetch the same file, one downloads it and the others wait.

    Args:
        name_or_url: a published model such as "mobilenet_v2_035_96", a hub handle such as
            "google/imagenet/mobilenet_v2_035_96/classification/5", an http or https URL, or "hf://owner/name", whose
            path is a folder.
        cache: the folder for the files; by default the environment variable ``MOBILENETS_CACHE``, or else
            ``mobilenets`` in the platform's cache folder.
        sha256: the expected sha256 of the file, 64 hexadecimal digits.
        progress: called with the number of bytes received and the length of the file, None if unknown.
        timeout: seconds to wait for a connection and for each piece of the file.
        tries: number of successive temporary failures, such as a broken connection, after which to give up; at most 2
            for each source of a published model.
        allow_unpinned: whether to accept an archive of a published model that has another sha256 than the pinned one.

    Raises:
        DownloadError: the name is unknown, the file cannot be downloaded or stored, or its sha256 is not the expected,
            pinned or recorded one. With ``MOBILENETS_OFFLINE=1`` no host is asked.

    Example:
        path = checkpoints.fetch("mobilenet_v2_035_96")
    """
    return fetched(
        name_or_url,
        cache=cache,
        sha256=sha256,
        progress=progress,
        timeout=timeout,
        tries=tries,
        allow_unpinned=allow_unpinned,
    ).path


def fetched(
    name_or_url: str,
    *,
    cache: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
    tries: int = 5,
    allow_unpinned: bool = False,
) -> Fetched:
    """As `fetch`, with the origin of the file: the URL or path that it first came from."""
    if name_or_url.startswith(hugging_face.SCHEME):
        return Fetched(hugging_face.download(name_or_url), name_or_url)
    groups = _groups(name_or_url)
    if not groups:
        _check_url(name_or_url)
        archive = archive_at(name_or_url)
        if archive and not allow_unpinned:
            sha256 = sha256 or archive.sha256
        path = store.fetch_url(name_or_url, cache, sha256, progress, timeout, tries)
        return Fetched(path, store.origin(path) or public_url(name_or_url))

    def request(url: str, part: Path) -> None:
        download(url, part, timeout=timeout, tries=min(tries, SOURCE_TRIES), progress=progress)

    search = _Search(cache, allow_unpinned, request)
    found = search.run(groups)
    if found is None:
        raise DownloadError(_nothing_found(name_or_url, groups, search.answers))
    if sha256 and found.path.is_file() and (digest := files.sha256(found.path)) != sha256.lower():
        raise DownloadError(f"{found.path} has the sha256 {digest}, but {sha256.lower()} is expected.")
    return found


def mirrors() -> list[str]:
    """Returns the folders and base URLs in ``MOBILENETS_MIRRORS``, separated by commas, lines or as in ``PATH``."""
    text = os.environ.get(MIRRORS_VARIABLE, "")
    # The colons of http://user:password@host:port/path separate nothing.
    separator = re.escape(os.pathsep)
    pattern = (
        rf"https?://(?:[^\s,/@]*@)?[^\s,;:/]*(?::\d+)?(?:/[^\s,{separator}]*)?|[^\s,{separator}][^\n,{separator}]*"
    )
    return [base.strip() for base in re.findall(pattern, text) if base.strip()]


def _groups(name: str) -> list[list[_Wanted]]:
    """Returns what would do, the better first: archives of the model, then its hub module; nothing for other files."""
    if name in REGISTRY:
        archives = [
            _Wanted(archive.url, archive.file, archive.file, archive.urls, archive.sha256, first_use=False)
            for archive in REGISTRY[name]
        ]
        return [archives, [_module(f"google/imagenet/{name}/classification/5")]]
    path = module_path(name)
    return [[_module(path)]] if path else []


def _module(path: str) -> _Wanted:
    urls = module_urls(path)
    file = path.removeprefix("google/").replace("/", "_") + ".tar.gz"
    return _Wanted(urls[0], file, f"{path}.tar.gz", urls, None, first_use=True)


def _check_url(name: str) -> None:
    if not re.fullmatch(r"https?://\S+", name):
        closest = ", ".join(difflib.get_close_matches(name, REGISTRY, n=3, cutoff=0))
        raise DownloadError(f"{name!r} is neither a published model nor an http(s) URL; the closest are {closest}.")


class _Search:
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

    def run(self, groups: Sequence[Sequence[_Wanted]]) -> Fetched | None:
        """Returns the first file that is found and accepted."""
        if found := self._recorded(groups):  # without a lock: the cache may be read-only
            return found
        first = self._path(groups[0][0])
        bases = mirrors()
        try:
            with store.locked(first):
                self._connect(base for base in bases if _is_url(base))
                for group in groups:
                    found = self._cached(group) or self._mirrored(group, bases)
                    if not found and group is groups[0]:
                        self._connect([*(url for some in groups for item in some for url in item.urls), kaggle.SITE])
                    found = found or self._published(group)
                    if found:
                        return found
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            why = error.strerror or reason(error)
            raise DownloadError(f"{first.name} cannot be stored in {first.parent}: {why}.") from error
        return self._from_kaggle(groups[-1][-1])

    def _path(self, wanted: _Wanted) -> Path:
        return store.path_of(wanted.url, self.cache, wanted.file)

    def _connect(self, urls: Iterable[str]) -> None:
        if not offline():
            self._unreachable |= unreachable(urls)

    def _recorded(self, groups: Iterable[Sequence[_Wanted]]) -> Fetched | None:
        for group in groups:
            for wanted in group:
                file = self._path(wanted)
                try:
                    if store.is_recorded(file):
                        self._check(file, wanted, group)
                        return Fetched(file, store.origin(file) or wanted.url)
                except CheckpointError:
                    continue  # `_cached` keeps the reason
        return None

    def _cached(self, group: Sequence[_Wanted]) -> Fetched | None:
        for wanted in group:
            file = self._path(wanted)
            answer = "not there"
            if file.exists():
                try:
                    self._check(file, wanted, group)
                    if not store.is_recorded(file):
                        store.write_record(wanted.url, file, files.sha256(file))
                    return Fetched(file, store.origin(file) or wanted.url)
                except CheckpointError as error:
                    answer = _without(error, file)
            self.answers.append((str(file), answer))
        return None

    def _mirrored(self, group: Sequence[_Wanted], bases: Iterable[str]) -> Fetched | None:
        """From the folders and base URLs in ``MOBILENETS_MIRRORS``."""
        items = list({item.under: item for item in reversed(group)}.values())
        for base in bases:
            for item in items:
                if _is_url(base):
                    found = self._from_url(f"{base.rstrip('/')}/{item.under}", item, group, base)
                else:
                    found = self._from_file(Path(base).expanduser() / item.under, item, group)
                if found:
                    return found
        return None

    def _published(self, group: Sequence[_Wanted]) -> Fetched | None:
        """From the URLs that the files were published at."""
        for wanted in group:
            if not (wanted.sha256 or wanted.first_use or self.allow_unpinned):
                self.answers.append((wanted.url, "not asked: no sha256 of it is known (--allow-unpinned asks)"))
                continue
            for url in wanted.urls:
                if found := self._from_url(url, wanted, group, url):
                    return found
        return None

    def _from_file(self, source: Path, wanted: _Wanted, group: Sequence[_Wanted]) -> Fetched | None:
        if not source.is_file():
            self.answers.append((str(source), "not there"))
            return None
        part = self._part(str(source), wanted)
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            discard(part)
            self.answers.append((str(source), error.strerror or reason(error)))
            return None
        return self._kept(part, str(source), wanted, group)

    def _from_url(self, url: str, wanted: _Wanted, group: Sequence[_Wanted], host: str) -> Fetched | None:
        part = self._part(url, wanted)
        try:
            if host in self._unreachable:
                raise DownloadError(self._unreachable[host])
            self.request(url, part)
        except DownloadError as error:
            self.answers.append((url, _without(error, url)))
            return None
        return self._kept(part, url, wanted, group)

    def _part(self, source: str, wanted: _Wanted) -> Path:
        """A part of its own for each source: the rest of one file never follows the beginning of another."""
        file = self._path(wanted)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.with_name(f"{file.name}.{store.short_digest(source)}.part")

    def _kept(self, part: Path, source: str, wanted: _Wanted, group: Sequence[_Wanted]) -> Fetched | None:
        """Moves a complete download into the cache, under the name of the archive whose sha256 it has."""
        try:
            file = self._path(self._check(part, wanted, group))
            store.check_complete(source, part, gzipped=True)
        except CheckpointError as error:
            discard(part)
            self.answers.append((source, _without(error, part, source)))
            return None
        store.keep(part, file, source)
        for rest in part.parent.glob("*.part*"):
            rest.unlink(missing_ok=True)
        return Fetched(file, public_url(source))

    def _check(self, file: Path, wanted: _Wanted, group: Sequence[_Wanted]) -> _Wanted:
        """Returns which of the files it is, and refuses one that is none."""
        digest = files.sha256(file)
        for item in group:
            if item.sha256 == digest:
                return item
        pins = [item.sha256 for item in group if item.sha256]
        if self.allow_unpinned or wanted.first_use:
            store.check_recorded(self._path(wanted), file, digest)
            return wanted
        known = f"the pinned sha256 is {' or '.join(pins)}" if pins else "no sha256 is pinned"
        raise DownloadError(f"{file} has the sha256 {digest}, but {known}.")

    def _from_kaggle(self, module: _Wanted) -> Fetched | None:
        name = kaggle.handle(module.under.removesuffix(".tar.gz"))
        if name is None:
            return None
        try:
            return Fetched(kaggle.download(name, self._unreachable.get(kaggle.SITE)), f"kaggle.com: {name}")
        except DownloadError as error:
            self.answers.append((f"kaggle.com: {name}", _without(error)))
            return None


def _is_url(base: str) -> bool:
    return re.match(r"https?://", base) is not None


def _without(error: Exception, *sources: str | Path) -> str:
    """Returns the message of an error without the source that it begins with, and without its full stop."""
    text = str(error)
    for source in sources:
        text = text.removeprefix(f"{shown(str(source))} ")
    return text.rstrip(".")


def _nothing_found(name: str, groups: Sequence[Sequence[_Wanted]], answers: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        [
            f"{name} could not be fetched. What each source answered:",
            *(f"  {source}\n      {answer}" for source, answer in answers),
            *_advice(groups[0]),
        ]
    )


def _advice(group: Sequence[_Wanted]) -> Iterator[str]:
    best = group[0]
    yield "What you can do:"
    digest = f" with the sha256 {best.sha256}" if best.sha256 else ""
    yield f"  Ask someone who has it for the file {best.file}{digest}."
    if best.sha256:
        yield "  mobilenets fetch --from PATH adopts it from a file, a folder or a disk."
    yield f"  {MIRRORS_VARIABLE}=FOLDER or =https://HOST/FOLDER fetches {best.under} from there."
    if offline():
        yield "  MOBILENETS_OFFLINE is set, so no host was asked; unset it to ask them."
