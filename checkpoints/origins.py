"""Fetches published models from wherever they still are: the cache, mirrors, the registry's URLs, hub modules.

A file whose sha256 is pinned is genuine, no matter where it comes from, and any other file in its place is refused.
What each source answers is kept, and all answers are in the error if no source has the file.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from checkpoints import cache as store
from checkpoints import files, hugging_face
from checkpoints.archives import REGISTRY, archive_at
from checkpoints.download import Progress, download, offline
from checkpoints.errors import DownloadError
from checkpoints.hub_handles import module_path, module_urls
from checkpoints.plain_text import public_url
from checkpoints.search import MIRRORS_VARIABLE, Candidate, Fetched, Search

SOURCE_TRIES = 2


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
    ``MOBILENETS_MIRRORS`` lists, at the URLs of the registry, as a TF-Hub module of the same model, and at last as one
    of Google's six repositories on the Hugging Face Hub. The sha256 of its archive must be the pinned one. A hub handle
    means the module itself.

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

    search = Search(cache, allow_unpinned, request)
    source = search.run(groups, hugging_face.GOOGLES.get(name_or_url))
    if source is None:
        raise DownloadError(_nothing_found(name_or_url, groups, search.answers))
    if sha256 and source.path.is_file() and (digest := files.sha256(source.path)) != sha256.lower():
        raise DownloadError(f"{source.path} has the sha256 {digest}, but {sha256.lower()} is expected.")
    return source


def _groups(name: str) -> list[list[Candidate]]:
    """Returns what would do, the better first: archives of the model, then its hub module; nothing for other files."""
    if name in REGISTRY:
        archives = [
            Candidate(archive.url, archive.file, archive.file, archive.urls, archive.sha256, first_use=False)
            for archive in REGISTRY[name]
        ]
        return [archives, [_module(f"google/imagenet/{name}/classification/5")]]
    path = module_path(name)
    return [[_module(path)]] if path else []


def _module(path: str) -> Candidate:
    urls = module_urls(path)
    file = path.removeprefix("google/").replace("/", "_") + ".tar.gz"
    return Candidate(urls[0], file, f"{path}.tar.gz", urls, None, first_use=True)


def _check_url(name: str) -> None:
    if not re.fullmatch(r"https?://\S+", name):
        closest = ", ".join(difflib.get_close_matches(name, REGISTRY, n=3, cutoff=0))
        raise DownloadError(f"{name!r} is neither a published model nor an http(s) URL; the closest are {closest}.")


def _nothing_found(name: str, groups: Sequence[Sequence[Candidate]], answers: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        [
            f"{name} could not be fetched. What each source answered:",
            *(f"  {source}\n      {answer}" for source, answer in answers),
            *_advice(groups[0]),
        ]
    )


def _advice(group: Sequence[Candidate]) -> Iterator[str]:
    best = group[0]
    yield "What you can do:"
    digest = f" with the sha256 {best.sha256}" if best.sha256 else ""
    yield f"  Ask someone who has it for the file {best.file}{digest}."
    if best.sha256:
        yield "  mobilenets fetch --from PATH adopts it from a file, a folder or a disk."
    yield f"  {MIRRORS_VARIABLE}=FOLDER or =https://HOST/FOLDER fetches {best.under} from there."
    if offline():
        yield "  MOBILENETS_OFFLINE is set, so no host was asked; unset it to ask them."
