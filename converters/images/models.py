"""Models as functions from images in [0, 1]: to logits, or to feature vectors."""

import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

import mobilenets
from converters.conversion import conversion_of
from converters.errors import ConversionError, ConversionWarning
from converters.exporting.inference import inference_function
from converters.images.sizes import height_and_width, image_size_of
from converters.keras_file import load_checked_model
from converters.parity.outputs import takes_unit_range
from converters.sources import find_source
from converters.text import shape_text

Images = np.ndarray


@dataclass(frozen=True)
class ImageModel:
    """A model and what is known of it.

    Attributes:
        model: The Keras model.
        name: As the user wrote it.
        image_size: Height and width of the images to give it, in pixels.
        info: The published model that it was converted from, if known.
        notes: Notes on the conversion of a checkpoint, such as "NaN or infinity in ...".
    """

    model: keras.Model
    name: str
    image_size: tuple[int, int]
    info: mobilenets.ModelInfo | None = None
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the images to give it: 3 (RGB) or 1 (grayscale)."""
        return self.model.input_shape[3]

    def num_classes(self) -> int:
        """Number of classes.

        Raises:
            ConversionError: The model does not classify.
        """
        return self._endpoint("Logits").shape[-1]

    def num_features(self) -> int:
        """Length of a feature vector.

        Raises:
            ConversionError: The model does not pool its features.
        """
        return self._endpoint("global_pool").shape[-1]

    def logits(self) -> Callable[[Images], np.ndarray]:
        """Returns a function from images ``(count, height, width, 3)`` in [0, 1] to logits ``(count, classes)``."""
        return self._function("Logits")

    def features(self) -> Callable[[Images], np.ndarray]:
        """Returns a function from images ``(count, height, width, 3)`` in [0, 1] to vectors ``(count, features)``."""
        return self._function("global_pool")

    def digest(self) -> str:
        """Returns a sha256 of everything that the outputs depend on: all weights and the image size."""
        digest = hashlib.sha256(f"{type(self).__name__} 1 {shape_text(self.image_size)}".encode())
        for layer in self.model.layers:
            for weight in layer.weights:
                array = keras.ops.convert_to_numpy(weight)
                digest.update(f"{layer.name} {weight.name} {array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _endpoint(self, name: str) -> keras.KerasTensor:
        try:
            endpoints = mobilenets.endpoints(self.model)
        except ValueError as error:
            raise ConversionError(f"{self.name} is none of this package's networks: {error}") from error
        for scope in mobilenets.SCOPES.values():
            if f"{scope}/{name}" in endpoints:
                return endpoints[f"{scope}/{name}"]
        what = {"Logits": "classify: it has no logits", "global_pool": "give feature vectors: it does not pool"}[name]
        raise ConversionError(f"{self.name} does not {what}. It has another head.")

    def _function(self, name: str) -> Callable[[Images], np.ndarray]:
        # Batch norms are not folded: the outputs stay those that were verified, to the last bit.
        infer = inference_function(keras.Model(self.model.input, self._endpoint(name)), fused=False)
        unit_range = takes_unit_range(self.model)

        def run(images: Images) -> np.ndarray:
            outputs = infer(images if unit_range else 2 * images - 1)
            return outputs.reshape(len(images), outputs.shape[-1])

        return run


def open_image_model(
    source: str | os.PathLike,
    image_size: int | tuple[int, int] | None = None,
    progress: Callable = lambda done, total: None,
) -> ImageModel:
    """Opens a model for `converters.predict`, `converters.evaluate` and `converters.embed`.

    Every note on the conversion of a checkpoint is issued as a `ConversionWarning` and kept in ``notes``.

    Args:
        source: A ``.keras`` file, which is compared with the manifest next to it, if there is one; anything that
            `converters.convert` takes; or the name of a published model, which is downloaded on first use.
        image_size: Height and width of the images; one number stands for both. By default the size that the model
            takes; if it takes any, the size of the published model's training images where the manifest names it, or
            else 224.
        progress: Called during a download; see `checkpoints.fetch`.

    Raises:
        ValueError: The file is not a model, or is damaged, or the model does not take images of ``image_size``.
        OSError: The file cannot be read.

    Example:
        >>> model = converters.open_image_model("model.keras")
        >>> model.image_size
        (224, 224)
    """
    notes: tuple[str, ...] = ()
    if pathlib.Path(source).suffix == ".keras":
        model, info = load_checked_model(pathlib.Path(source))
    else:
        conversion = conversion_of(find_source(source, progress))
        model, notes = conversion.model, conversion.notes
        name = conversion.configuration["name"]
        info = mobilenets.get_model_info(str(name)) if name else None
    for note in notes:
        warnings.warn(note, ConversionWarning, stacklevel=2)
    return ImageModel(model, str(source), _image_size(model, str(source), image_size, info), info, notes)


def _image_size(
    model: keras.Model, source: str, wanted: int | tuple[int, int] | None, info: mobilenets.ModelInfo | None
) -> tuple[int, int]:
    """The wanted size, if the model takes it, or else the model's own."""
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] not in (1, 3):
        raise ConversionError(f"{source} takes {shape}, not images (count, height, width, 3 or 1).")
    takes = shape[1:3]
    size = image_size_of(model, info) if wanted is None else height_and_width(wanted)
    if any(side not in (None, length) for side, length in zip(takes, size, strict=True)):
        raise ConversionError(f"{source} takes images of {shape_text(takes)} pixels, not of {shape_text(size)}.")
    return size
