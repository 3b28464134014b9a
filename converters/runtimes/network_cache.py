"""Converted networks in the cache folder, by a digest of weights and structure. Imports Keras only to write one."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import checkpoints
import mobilenets
from converters.runtimes.table import Runtime

if TYPE_CHECKING:
    import keras

FORMAT = "mobilenets network 1"


class Verdict(NamedTuple):
    """A comparison of a runtime with the exact model; the attributes are those of `Inference`."""

    passed: bool
    error: float
    bound: float
    from_keras: float


def verdict_file(network: Path, images: np.ndarray | None, runtime: str, version: str) -> Path:
    """Returns where the comparison on some images is kept, next to the file of the network."""
    digest = hashlib.sha256(f"{runtime} {version}".encode())
    digest.update(b"noise" if images is None else np.ascontiguousarray(images).tobytes())
    return network.with_name(f"compared-{digest.hexdigest()[:32]}.json")


def read_verdict(file: Path) -> Verdict | None:
    """Returns the comparison in a file; None if there is none."""
    try:
        return Verdict(**checkpoints.read_json(file))
    except (OSError, ValueError, TypeError):
        return None


def write_verdict(file: Path, verdict: Verdict) -> None:
    """Keeps a comparison, if the folder can be written."""
    with contextlib.suppress(OSError), checkpoints.replacing(file) as path:
        path.write_text(json.dumps(verdict._asdict()) + "\n")


def network_file(model: "keras.Model", runtime: Runtime) -> Path:
    """Returns where the cache keeps the file of a fused model for a runtime."""
    folder = checkpoints.cache_folder() / "networks" / network_digest(model)[:32] / runtime.format
    return folder / f"network{runtime.suffix}"


def network_digest(model: "keras.Model") -> str:
    """Returns a sha256 of the structure and of all weights, whatever the name of the model."""
    import keras

    from converters.versions import version_of

    digest = hashlib.sha256(f"{FORMAT} {version_of('tensorflow')} {keras.__version__}".encode())
    # Keras counts models without a name: functional, functional_1, ...
    config = {key: value for key, value in model.get_config().items() if key != "name"}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for weight in model.weights:
        array = keras.ops.convert_to_numpy(weight)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def converted_file(model: "keras.Model", runtime: Runtime) -> Iterator[Path]:
    """Yields the file of a fused model for a runtime: the one in the cache, or else a new one.

    A file whose sha256 is not the recorded one is written again. Where the cache folder cannot be written, the file is
    temporary.
    """
    kept_file = network_file(model, runtime)
    folder, name = kept_file.parent, kept_file.name
    if is_whole(folder):
        yield folder / name
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with checkpoints.staged(folder) as unfinished:
            _write(model, runtime, unfinished, name)
        place: contextlib.AbstractContextManager = contextlib.nullcontext(folder)
    except OSError:
        place = tempfile.TemporaryDirectory()
    with place as kept:
        if Path(kept) != folder:
            _write(model, runtime, Path(kept), name)
        yield Path(kept) / name


def _write(model: "keras.Model", runtime: Runtime, folder: Path, name: str) -> None:
    # Imports TensorFlow's converters.
    import io

    from converters.exporting.formats import find_format
    from converters.image_sizes import DEFAULT_IMAGE_SIZE

    folder.mkdir(exist_ok=True)
    sides = [side or DEFAULT_IMAGE_SIZE for side in model.input_shape[1:3]]
    with contextlib.redirect_stdout(io.StringIO()):
        images = np.zeros((1, *sides, model.input_shape[3]), np.float32)
        find_format(runtime.format, None).write(mobilenets.fuse(model), folder / name, images)
    sums = {file.name: checkpoints.sha256(file) for file in folder.iterdir()}
    (folder / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n")


def is_whole(folder: Path) -> bool:
    """Returns whether the files of a network are those that were written."""
    try:
        sums = checkpoints.read_json(folder / "sha256.json")
        return bool(sums) and all(checkpoints.sha256(folder / name) == expected for name, expected in sums.items())
    except (OSError, ValueError, AttributeError):
        return False
