"""Feature vectors of any number of images, in a job that can be interrupted anywhere and then resumed."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import checkpoints
from converters.images.embedder import Embedder, FeatureModel
from converters.images.embedding_files import WRITERS, metadata_of, read_part, write_part
from converters.images.embedding_parts import locked_parts, remove_parts
from converters.images.features_path import check_features_path
from converters.images.image_paths import chunks
from converters.images.orientation import turned_note
from converters.images.photographs import decoder
from converters.images.pipeline import first_images
from converters.images.reasons import Broken

FORMAT = "mobilenets embedding 1"
PART_SIZE = 1024


@dataclass(frozen=True)
class Embedding:
    """The result of a job.

    Attributes:
        output: The file of feature vectors.
        count: The number of feature vectors in it.
        num_features: The length of each.
        broken: Images that could not be read.
        resumed: The number of images that an earlier run had finished.
    """

    output: pathlib.Path
    count: int
    num_features: int
    broken: tuple[Broken, ...]
    resumed: int


def embed(
    model: FeatureModel,
    images: Iterable[str],
    output: str | os.PathLike,
    *,
    part_size: int = PART_SIZE,
    batch_size: int = 32,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda sentence: None,
    upright: bool = False,
) -> Embedding:
    """Writes the feature vectors of images to a file, in bounded memory.

    Parts of ``part_size`` images are written to the folder ``<output>.parts``, each whole or not at all. The finished
    parts are joined into the output, and the folder is removed. A run that finds parts of the same job (the same
    weights, paths and sizes) continues after them, and writes the same file as an uninterrupted run. If the output of
    the same job exists, nothing is computed. Changes of the images between runs are not detected.

    Args:
        model: A model that pools its features; a classification model does too.
        images: Paths, iterated twice: `converters.ImagePaths`, or any sequence.
        output: The ``.parquet`` file (columns ``path`` and ``features``; needs pyarrow), or the ``.npz`` file (arrays
            ``paths`` and ``features``).
        part_size: The number of images in a part.
        batch_size: The number of images that the network takes at once.
        force: Whether to replace an existing output, or the parts of another job.
        progress: Called with the number of finished images, and of all images.
        note: Called with sentences on the runtime and on images that are not upright.
        upright: Whether to turn images upright by their EXIF orientation, which slim ignored.

    Raises:
        ValueError: The model has no feature vectors, the output has another suffix or exists, no image can be read, the
            list of images changed during the run, or another process runs the same job.
        OSError: A list of images cannot be read, or a part cannot be written.

    Example:
        >>> model = converters.open_image_model("model.keras")
        >>> converters.embed(model, converters.ImagePaths(["photos"]), "features.npz").count
        12
    """
    output = pathlib.Path(output)
    check_features_path(output)
    model.num_features()
    count, digest = _digest(images)
    if not count:
        raise ValueError("There are no images to embed.")
    job = {
        "format": FORMAT,
        "weights_and_size": model.digest(),
        "images": digest,
        "part_size": part_size,
        "batch_size": batch_size,
        "runtime": model.runtime,
        "upright": upright,
        "decoder": decoder(),
    }
    parts = output.with_name(f"{output.name}.parts")
    done = metadata_of(output) if output.exists() else {}
    if done.get("job") == job:
        if _job_in(parts) in (job, None):  # another process may be at work on another job
            remove_parts(parts)
        progress(count, count)
        return _report(output, done, resumed=count)
    _check_replaceable(output, parts, job, force)
    embedder = Embedder(
        model, batch_size, first_images(images, model.image_size, turn=upright, channels=model.channels), count, upright
    )
    for sentence in embedder.notes:
        note(sentence)
    with locked_parts(parts, output):
        _check_replaceable(output, parts, job, force)  # another process may have written it since
        _prepare(parts, job, force)
        resumed = _write_parts(embedder, images, parts, (count, digest), part_size, progress)
        metadata = _join(output, parts, embedder.num_features, job)
        remove_parts(parts)
    if turned := turned_note(embedder.turned, upright):
        note(turned)
    return _report(output, metadata, resumed)


def _check_replaceable(output: pathlib.Path, parts: pathlib.Path, job: dict, force: bool) -> None:
    if output.exists() and not force and _job_in(parts) != job:
        raise ValueError(f"The output {output} exists; use --force (force=True) to replace it.")


def _digest(images: Iterable[str]) -> tuple[int, str]:
    """Returns the number of paths, and a sha256 of all of them."""
    digest, count = hashlib.sha256(), 0
    for count, path in enumerate(images, 1):  # noqa: B007
        digest.update(os.fsencode(path) + b"\0")
    return count, digest.hexdigest()


def _job_in(parts: pathlib.Path) -> dict | None:
    try:
        return checkpoints.read_json(parts / "job.json")
    except (OSError, ValueError):
        return None


def _prepare(parts: pathlib.Path, job: dict, force: bool) -> None:
    """Creates the folder of the parts, or empties it if its parts belong to another job."""
    existing = _job_in(parts)
    if existing == job:
        return
    if existing is not None and not force:
        raise ValueError(
            f"{parts} holds the parts of another job (other images, another model or other sizes); "
            "delete it, or use --force (force=True)."
        )
    if parts.exists():
        # Delete job.json last: a folder without it counts as abandoned.
        for file in sorted(parts.iterdir(), key=lambda file: file.name == "job.json"):
            if file.name != "lock":  # which is held
                file.unlink()
    with checkpoints.replacing(parts / "job.json") as path:
        path.write_text(json.dumps(job, indent=1) + "\n")


def _part(parts: pathlib.Path, number: int) -> pathlib.Path:
    return parts / f"{number:08d}.npz"


def _part_files(parts: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file for file in parts.glob("*.npz") if not file.name.startswith("."))


def _write_parts(
    embedder: Embedder,
    images: Iterable[str],
    parts: pathlib.Path,
    expected: tuple[int, str],
    part_size: int,
    progress: Callable[[int, int], None],
) -> int:
    """Writes the missing parts; returns the number of images in the existing ones."""
    digest = hashlib.sha256()
    done = resumed = 0
    for number, paths in enumerate(chunks(images, part_size)):
        for path in paths:
            digest.update(os.fsencode(path) + b"\0")
        if _part(parts, number).exists():
            resumed += len(paths)
        else:
            with checkpoints.replacing(_part(parts, number)) as file:
                write_part(file, embedder(paths))
        done += len(paths)
        progress(done, expected[0])
    if (done, digest.hexdigest()) != expected:
        raise ValueError("The list of images changed during the run; run again.")
    return resumed


def _join(output: pathlib.Path, parts: pathlib.Path, num_features: int, job: dict) -> dict:
    files = _part_files(parts)
    count = 0
    broken: list[Broken] = []
    for part in map(read_part, files):
        count += len(part.paths)
        broken += part.broken
    if not count:
        shutil.rmtree(parts, ignore_errors=True)
        raise ValueError(f"None of the {len(broken)} images can be read; the first: {broken[0].reason}")
    metadata = {"job": job, "count": count, "num_features": num_features, "broken": broken}
    # In the folder of the parts, which is removed also after a run that was killed.
    whole = parts / f"whole{output.suffix}.tmp"
    WRITERS[output.suffix](whole, files, num_features, metadata)
    os.replace(whole, output)
    return metadata


def _report(output: pathlib.Path, metadata: dict, resumed: int) -> Embedding:
    broken = tuple(Broken(*entry) for entry in metadata["broken"])
    return Embedding(output, metadata["count"], metadata["num_features"], broken, resumed)
