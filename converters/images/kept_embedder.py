"""Feature vectors without TensorFlow and Keras: an earlier job kept the network."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from converters.images.image_paths import ImagePaths
from converters.images.kept_network import KeptNetwork, known_of, read_record, record_file, write_record
from converters.images.pipeline import first_images
from converters.images.scaling import in_range
from converters.runtimes.network_cache import Verdict, read_verdict, verdict_file
from converters.runtimes.table import RUNTIMES, Function

if TYPE_CHECKING:
    from converters.images.models import ImageModel

KIND = "embedders"


class KeptInference(NamedTuple):
    """A function from images to feature vectors; see `converters.runtimes.choice.Inference`."""

    run: Function
    runtime: str
    notes: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the feature vectors of a batch of images."""
        return self.run(images)


@dataclasses.dataclass(frozen=True)
class KeptEmbedder(KeptNetwork):
    """What a job needs to know of a model, in the place of an `ImageModel`.

    Attributes:
        asked: The runtime that was asked for.
        channels: As in `ImageModel`.
        length: Length of a feature vector.
        weights: The digest of `ImageModel`.
    """

    asked: str
    channels: int
    length: int
    weights: str

    def num_features(self) -> int:
        """Returns the length of a feature vector."""
        return self.length

    def digest(self) -> str:
        """Returns the digest of the model that was kept."""
        return self.weights

    def verdict(self, first: np.ndarray) -> Verdict | None:
        """Returns the comparison with the exact model on these first images, if an earlier run has made it."""
        images = in_range(first, self.image_range)
        return read_verdict(verdict_file(Path(self.file), images, self.runtime, self.version))


class KeptJob:
    """A `KeptEmbedder` whose network is loaded and was compared on the first images of a job."""

    def __init__(self, kept: KeptEmbedder, run: Function, verdict: Verdict, first: np.ndarray):
        self.image_size, self.channels, self.runtime = kept.image_size, kept.channels, kept.asked
        self.num_features, self.digest = kept.num_features, kept.digest
        self._kept, self._run, self._verdict, self._compared = kept, run, verdict, len(first)

    def features(self, first: np.ndarray | None = None, count: int | None = None) -> KeptInference:
        """Returns a function from images in [0, 1] to feature vectors."""
        kept, verdict = self._kept, self._verdict

        def run(images: np.ndarray) -> np.ndarray:
            return self._run(in_range(images, kept.image_range)).reshape(len(images), kept.length)

        note = (
            f"The runtime is {kept.runtime}, without TensorFlow and Keras: on the first {self._compared} images it "
            f"differs from the exact model by {verdict.error:.2g} of the largest output ({verdict.bound:.2g} is "
            f"allowed), and from Keras by {verdict.from_keras:.2g}, as an earlier run found."
        )
        return KeptInference(run, kept.runtime, (*kept.notes, note))


def find_embedder(
    source: str,
    image_size: object,
    runtime: str,
    images: Iterable[str],
    upright: bool,
    progress: Callable = lambda done, total: None,
) -> KeptJob | None:
    """Returns a model as an earlier job kept it; None if there is none, or not compared on the first of these images.

    Args:
        source: As in `record_file`.
        image_size: Likewise.
        runtime: Likewise.
        images: Paths of the images of the job.
        upright: Whether images are turned upright.
        progress: As in `record_file`.
    """
    with contextlib.suppress(OSError, ValueError):
        kept = read_record(KeptEmbedder, record_file(KIND, source, image_size, runtime, progress))
        if kept is not None:
            first = first_images(images, kept.image_size, turn=upright, channels=kept.channels)
            verdict = kept.verdict(first) if len(first) else None
            run = kept.function() if verdict is not None and verdict.passed else None
            if run is not None and verdict is not None:
                return KeptJob(kept, run, verdict, first)
    return None


def keep_embedder(model: "ImageModel", image_size: object, images: Sequence[str] | ImagePaths, upright: bool) -> None:
    """Keeps the network of a finished job for later ones, if it is a converted file in the cache.

    Args:
        model: The model of the job.
        image_size: As it was asked for.
        images: Paths of the images of the job.
        upright: Whether images were turned upright.
    """
    if model.runtime != "auto" and model.runtime not in RUNTIMES:
        return  # the model's own layers, or TensorFlow
    first = first_images(images, model.image_size, turn=upright, channels=model.channels)
    inference = model.features(first, sum(1 for _ in images))
    if inference.file is None or inference.error is None:
        return
    with contextlib.suppress(OSError, ValueError):
        record = record_file(KIND, model.name, image_size, model.runtime)
        write_record(
            record,
            KeptEmbedder(
                **known_of(model, inference.file, inference.runtime),
                asked=model.runtime,
                channels=model.channels,
                length=model.num_features(),
                weights=model.digest(),
            ),
        )
