"""Feature vectors of some images: one part of a job, on this machine or on one of many."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from converters.images.embedding_files import Part
from converters.images.pipeline import image_batches
from converters.images.reasons import Broken


class FeatureModel(Protocol):
    """What a job needs of a model: a `converters.images.models.ImageModel`, or a `KeptEmbedder`."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images to give it."""

    @property
    def channels(self) -> int:
        """Channels of the images to give it."""

    @property
    def runtime(self) -> str:
        """The runtime that was asked for."""

    def num_features(self) -> int:
        """Length of a feature vector."""

    def digest(self) -> str:
        """A sha256 of everything that the outputs depend on."""

    def features(self, first: np.ndarray | None = None, count: int | None = None) -> Any:
        """A function from images to feature vectors, with the attributes ``runtime`` and ``notes``."""


class Embedder:
    """Computes one part of a job. Parts are independent, so many machines can compute them at once.

    Args:
        model: A model that pools its features; a classification model does too.
        batch_size: The number of images that the network takes at once. Another size may round differently.
        first: A few images, on which the runtime is compared with the exact model; seeded noise by default.
        count: Number of images of the job, as in `ImageModel.features`.
        upright: Whether to turn images upright by their EXIF orientation.
    """

    def __init__(
        self,
        model: FeatureModel,
        batch_size: int = 32,
        first: np.ndarray | None = None,
        count: int | None = None,
        upright: bool = False,
    ):
        self.num_features = model.num_features()
        self.turned = 0
        inference = model.features(first, count)
        self.runtime, self.notes = inference.runtime, inference.notes
        self._features, self._read = inference, (model.image_size, batch_size, upright, model.channels)

    def __call__(self, paths: Sequence[str]) -> Part:
        """Returns the feature vectors of the images that can be read, in order.

        Files of feature vectors hold text, so bytes of a path that are not UTF-8 become ``\\xff``.
        """
        read: list[str] = []
        broken: list[Broken] = []
        features = [np.empty((0, self.num_features), np.float32)]
        for batch in image_batches(paths, *self._read):
            self.turned += batch.turned
            read += map(_printable, batch.paths)
            broken += (Broken(*map(_printable, entry)) for entry in batch.broken)
            if batch.paths:
                features.append(self._features(batch.images).astype(np.float32))
        return Part(tuple(read), np.concatenate(features), tuple(broken))


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def rows(part: Part) -> Iterator[dict]:
    """Yields a part as rows: ``{"path": ..., "features": ...}``."""
    for path, features in zip(part.paths, part.features, strict=True):
        yield {"path": path, "features": features}
