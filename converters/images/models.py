"""Models as functions from images in [0, 1]: to logits, or to feature vectors."""

import hashlib
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

import mobilenets
from converters.conversion import conversion_of
from converters.errors import ConversionError
from converters.exporting.inference import inference_function
from converters.keras_file import load_model, open_keras_file
from converters.manifest import manifest_path, read_manifest
from converters.sources import source_of
from mobilenets import SCOPES

Images = np.ndarray


@dataclass(frozen=True)
class ImageModel:
    """A model and what is known of it.

    Attributes:
        model: the Keras model.
        name: as the user gave it.
        image_size: height and width of the images it is to be given, in pixels.
        info: the published model that it was converted from, if any.
    """

    model: keras.Model
    name: str
    image_size: int
    info: mobilenets.ModelInfo | None = None

    def num_classes(self) -> int:
        """Number of classes.

        Raises:
            ConversionError: the model does not classify.
        """
        return self._endpoint("Logits").shape[-1]

    def num_features(self) -> int:
        """Length of a feature vector.

        Raises:
            ConversionError: the model does not pool its features.
        """
        return self._endpoint("global_pool").shape[-1]

    def logits(self) -> Callable[[Images], np.ndarray]:
        """A function from images ``(count, size, size, 3)`` in [0, 1] to logits ``(count, classes)``."""
        return self._function("Logits")

    def features(self) -> Callable[[Images], np.ndarray]:
        """A function from images ``(count, size, size, 3)`` in [0, 1] to feature vectors ``(count, features)``."""
        return self._function("global_pool")

    def digest(self) -> str:
        """A sha256 of all weights and of the image size: what the outputs depend on."""
        digest = hashlib.sha256(f"{type(self).__name__} 1 {self.image_size}".encode())
        for layer in self.model.layers:
            for weight in layer.weights:
                array = keras.ops.convert_to_numpy(weight)
                digest.update(f"{layer.name} {weight.name} {array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _endpoint(self, name: str) -> keras.KerasTensor:
        try:
            found = mobilenets.endpoints(self.model)
        except ValueError as error:
            raise ConversionError(f"{self.name} is none of this package's networks: {error}") from error
        for scope in SCOPES.values():
            if f"{scope}/{name}" in found:
                return found[f"{scope}/{name}"]
        what = {"Logits": "classify: it has no logits", "global_pool": "give feature vectors: it does not pool"}[name]
        raise ConversionError(f"{self.name} does not {what}, as its head is another.")

    def _function(self, name: str) -> Callable[[Images], np.ndarray]:
        # Batch norms are not folded: the outputs are to be those that were verified, to the last bit.
        infer = inference_function(keras.Model(self.model.input, self._endpoint(name)), fused=False)
        unit_range = any(isinstance(layer, keras.layers.Rescaling) for layer in self.model.layers)

        def run(images: Images) -> np.ndarray:
            outputs = infer(images if unit_range else 2 * images - 1)
            return outputs.reshape(len(images), outputs.shape[-1])

        return run


def open_image_model(
    source: str | os.PathLike, image_size: int | None = None, progress: Callable = lambda done, total: None
) -> ImageModel:
    """Opens a model to look at images with.

    Args:
        source: a ``.keras`` file (held against the manifest beside it, if there is one), or anything that
            `converters.convert` takes, or the name of a published model, which is downloaded on first use.
        image_size: height and width of the images; by default what the model takes, or where it takes any size, what
            it was trained for, or 224.
        progress: of a download; see `checkpoints.fetch`.

    Raises:
        ValueError: the file is none, or damaged, or the model takes other images than ``image_size`` says.
        OSError: the file cannot be read.
    """
    path = pathlib.Path(source)
    name = None
    if path.suffix == ".keras":
        has_manifest = manifest_path(path).is_file()
        model = load_model(path) if has_manifest else open_keras_file(path)
        if has_manifest:
            name = read_manifest(manifest_path(path)).get("configuration", {}).get("name")
    else:
        found = source_of(source, progress)
        conversion = conversion_of(found, name=None if found is source else str(source))
        model, name = conversion.model, conversion.configuration["name"]
    info = mobilenets.get_model_info(name) if name else None
    return ImageModel(model, str(source), _image_size(model, str(source), image_size, info), info)


def _image_size(model: keras.Model, source: str, said: int | None, info: mobilenets.ModelInfo | None) -> int:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise ConversionError(f"{source} takes {shape}, not images (count, height, width, 3).")
    height, width = shape[1:3]
    size = said or height or width or (info.image_size if info else 224)
    if height not in (None, size) or width not in (None, size):
        takes = "x".join("any" if side is None else str(side) for side in (height, width))
        raise ConversionError(f"{source} takes images of {takes} pixels, not of {size}x{size}.")
    return size
