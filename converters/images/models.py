"""Models as functions from images in [0, 1]: to logits, or to feature vectors."""

import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

import mobilenets
from converters.conversion import conversion_of
from converters.errors import ConversionError, ConversionWarning
from converters.image_sizes import image_size_of
from converters.images.scaling import as_logits, in_range
from converters.keras_file import load_checked_model
from converters.runtimes.choice import Inference, check_runtime, is_compared
from converters.runtimes.inference import inference_function
from converters.sources import find_source
from converters.text import shape_text
from mobilenets.nesting import is_nested, is_prepared

# Converting a network and comparing it with the exact model takes as long as some hundred images in Keras.
FEW_IMAGES = 500


@dataclass(frozen=True)
class ImageModel:
    """A model and what is known of it.

    Attributes:
        model: The Keras model.
        name: As the user wrote it.
        image_size: Height and width of the images to give it, in pixels.
        info: The published model that it was converted from, if known.
        notes: Notes on the conversion of a checkpoint, such as "NaN or infinity in ...".
        runtime: As in `converters.inference_function`; by default the model's own layers, as they were verified.
        threads: As in `converters.inference_function`.
    """

    model: keras.Model
    name: str
    image_size: tuple[int, int]
    info: mobilenets.ModelInfo | None = None
    notes: tuple[str, ...] = ()
    runtime: str = "keras"
    threads: int | None = None

    @property
    def image_range(self) -> tuple[float, float]:
        """Lowest and highest value of the images that the Keras model takes."""
        return mobilenets.image_range(self.model)

    @property
    def has_softmax(self) -> bool:
        """Whether the output for classes is a softmax, not logits."""
        return _is_softmax(self.model, self._class_output())

    @property
    def channels(self) -> int:
        """Channels of the images to give it: 3 (RGB) or 1 (grayscale)."""
        return self.model.input_shape[3]

    def num_classes(self) -> int:
        """Number of classes.

        Raises:
            ConversionError: The model does not classify.
        """
        return self._class_output().shape[-1]

    def num_features(self) -> int:
        """Length of a feature vector.

        Raises:
            ConversionError: The model does not pool its features.
        """
        return self._endpoint("global_pool").shape[-1]

    def logits(self, first: np.ndarray | None = None, count: int | None = None) -> Inference:
        """Returns a function from images ``(count, height, width, channels)`` in [0, 1] to logits ``(count, classes)``.

        Args:
            first: A few images, on which the runtime is compared with the exact model; seeded noise by default.
            count: Number of images of the job. For fewer than `FEW_IMAGES`, "auto" takes a converted network only if
                the cache holds it, compared on the same first images; otherwise it takes "keras".
        """
        infer = self._function(self._class_output(), first, count)
        return replace(infer, run=lambda images: as_logits(infer(images))) if self.has_softmax else infer

    def features(self, first: np.ndarray | None = None, count: int | None = None) -> Inference:
        """Returns a function from images ``(count, height, width, channels)`` in [0, 1] to ``(count, features)``.

        Args:
            first: As in `logits`.
            count: As in `logits`.
        """
        return self._function(self._endpoint("global_pool"), first, count)

    def digest(self) -> str:
        """Returns a sha256 of everything that the outputs depend on: all weights and the image size."""
        digest = hashlib.sha256(f"{type(self).__name__} 1 {shape_text(self.image_size)}".encode())
        for layer in self.model.layers:
            for weight in layer.weights:
                array = keras.ops.convert_to_numpy(weight)
                digest.update(f"{layer.name} {weight.name} {array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _class_output(self) -> keras.KerasTensor:
        """Returns the logits of the network, or the output of a head of the user's own."""
        output = self.model.outputs[0]
        endpoints = self._endpoints()
        for scope in mobilenets.SCOPES.values():
            if f"{scope}/Logits" in endpoints and not _after_own_head(self.model):
                return endpoints[f"{scope}/Logits"]
        if len(self.model.outputs) == 1 and len(output.shape) == 2 and _after_own_head(self.model):
            activation = _activation(self.model.operations[-1])
            if output.shape[-1] == 1 or activation == "sigmoid":
                raise ConversionError(
                    f"{self.name} gives {shape_text(output.shape[1:])} value(s) with the activation {activation}. "
                    "Classes are read from logits or a softmax over at least two classes."
                )
            return output
        raise ConversionError(f"{self.name} does not classify: it has no logits. It has another head.")

    def _endpoints(self) -> dict[str, keras.KerasTensor]:
        try:
            return mobilenets.endpoints(self.model)
        except ValueError as error:
            raise ConversionError(f"{self.name} is none of this package's networks: {error}") from error

    def _endpoint(self, name: str) -> keras.KerasTensor:
        endpoints = self._endpoints()
        for scope in mobilenets.SCOPES.values():
            if f"{scope}/{name}" in endpoints:
                return endpoints[f"{scope}/{name}"]
        raise ConversionError(f"{self.name} does not give feature vectors: it does not pool. It has another head.")

    def _function(self, output: keras.KerasTensor, first: np.ndarray | None, count: int | None) -> Inference:
        taken = self.image_range
        network = keras.Model(self.model.input, output)
        compared = None if first is None or not len(first) else in_range(first, taken)
        few = self.runtime == "auto" and count is not None and count < FEW_IMAGES
        runtime = "keras" if few and not is_compared(network, compared) else self.runtime
        infer = inference_function(network, runtime, self.threads, images=compared)

        def run(images: np.ndarray) -> np.ndarray:
            outputs = infer(in_range(images, taken))
            return outputs.reshape(len(images), outputs.shape[-1])

        return replace(infer, run=run)


def _after_own_head(model: keras.Model) -> bool:
    """Returns whether the last layer with weights is not the network's: a head that somebody added."""
    last = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Dropout)][-1:]
    return any(mobilenets.slim_name(layer.name).split("/")[0] not in mobilenets.SCOPES.values() for layer in last)


def _activation(operation: keras.Operation) -> str:
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(operation, "activation", None), "__name__", "linear")


def _is_softmax(model: keras.Model, output: keras.KerasTensor) -> bool:
    return any(operation.output is output and _activation(operation) == "softmax" for operation in model.operations)


def open_image_model(
    source: str | os.PathLike,
    image_size: int | tuple[int, int] | None = None,
    progress: Callable = lambda done, total: None,
    runtime: str = "keras",
    threads: int | None = None,
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
        runtime: As in `converters.inference_function`; by default the model's own layers, as they were verified.
        threads: As in `converters.inference_function`.

    Raises:
        ValueError: The file is not a model, or is damaged, or the model does not take images of ``image_size``.
        OSError: The file cannot be read.

    Example:
        >>> model = converters.open_image_model("model.keras")
        >>> model.image_size
        (224, 224)
    """
    check_runtime(runtime, threads)
    notes: tuple[str, ...] = ()
    if pathlib.Path(source).suffix == ".keras":
        model, info = load_checked_model(pathlib.Path(source))
    else:
        conversion = conversion_of(find_source(source, progress))
        model, notes = conversion.model, conversion.notes
        name = conversion.configuration["name"]
        info = mobilenets.get_model_info(str(name)) if name else None
    if is_nested(model) or is_prepared(model):
        model = mobilenets.flat(model)
    for note in notes:
        warnings.warn(note, ConversionWarning, stacklevel=2)
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] not in (1, 3):
        raise ConversionError(f"{source} takes {shape}, not images (count, height, width, 3 or 1).")
    size = image_size_of(model, info, image_size, str(source))
    return ImageModel(model, str(source), size, info, notes, runtime, threads)
