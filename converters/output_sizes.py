"""How large the outputs of a model's layers are, known before it runs."""

import math
import pathlib
from collections.abc import Iterator

import keras

import checkpoints
from converters.errors import ConversionError
from converters.image_sizes import DEFAULT_IMAGE_SIZE
from converters.structure import ARGUMENTS
from mobilenets.nesting import Copies
from mobilenets.random_values import without_random_values

MAX_VALUES = 2**28  # for one image, 1 GiB in float32; MobileNet V2 1.4 has 146 million at 2016x2016 pixels
# Their output is not higher or wider than their input.
_NEVER_LARGER = {*ARGUMENTS, "BesselBatchNormalization", "Dense"} - {"ZeroPadding2D"}


def check_outputs(model: keras.Model, path: pathlib.Path) -> None:
    """Refuses a model that needs much more memory for an image than networks for images do.

    Raises:
        ConversionError: the output of a layer has more than `MAX_VALUES` values.
    """
    outputs = list(_outputs(model))
    any_size = any(None in shape for _, shape in outputs)
    if any_size and not {type(layer).__name__ for layer, _ in outputs} <= _NEVER_LARGER:
        try:
            outputs = list(_outputs(_of_one_size(model)))
        except ValueError as error:
            raise ConversionError(f"{path} is refused: {checkpoints.reason(error)}.") from error
    for layer, shape in outputs:
        values = math.prod(DEFAULT_IMAGE_SIZE if side is None else side for side in shape)
        if values > MAX_VALUES:
            raise ConversionError(
                f"{path} is refused, because the output of its layer {checkpoints.shown(layer.name)} has {values} "
                f"values for one image, more than {MAX_VALUES}."
            )


def _of_one_size(model: keras.Model) -> keras.Model:
    """Returns a copy of a model that takes any size, for images of the usual one; its weights are not set."""
    shape = (side or DEFAULT_IMAGE_SIZE for side in model.inputs[0].shape[1:])
    images = keras.Input(tuple(shape), dtype=model.inputs[0].dtype)
    with without_random_values():
        return keras.Model(images, Copies().run(model, images))


def _outputs(model: keras.Model) -> Iterator[tuple[keras.Layer, tuple[int | None, ...]]]:
    """Yields each layer, also those of inner models, with the shape of each output without the batch."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _outputs(layer)
        # Public attributes give the output of a layer that is called once only.
        for node in layer._inbound_nodes:
            yield from ((layer, tuple(output.shape[1:])) for output in node.outputs)
