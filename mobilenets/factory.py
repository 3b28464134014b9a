"""Networks of published models by name, and the constructor of each family."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from mobilenets.inception_v2 import InceptionV2
from mobilenets.mobilenet_v1 import MobileNetV1
from mobilenets.mobilenet_v2 import MobileNetV2
from mobilenets.mobilenet_v3 import MobileNetV3
from mobilenets.published import parse_handle

CONSTRUCTORS: dict[str, Callable[..., keras.Model]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3": MobileNetV3,
    "inception_v2": InceptionV2,
}
"""Family -> its constructor."""


def build(name_or_handle: str, head: str | None = None, **overrides: Any) -> keras.Model:
    """Builds the network of a published model, with random weights.

    Args:
        name_or_handle: a name or a hub handle, as for `get_model_info`. A handle determines the head:
            "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/classification/3" has logits.
        head: "classification" (the default for a name), "feature_vector" or "feature_map".
        **overrides: keyword arguments of the family's constructor, in place of the published values.

    Returns:
        A model as the family's constructor builds it.

    Raises:
        ValueError: for an unknown name, a head other than the handle's, or a value out of range.
        TypeError: for an argument that the constructor does not have.

    Example:
        >>> model = mobilenets.build("mobilenet_v2_035_96", head="feature_vector")
        >>> model.output_shape
        (None, 1280)
    """
    info, handle_head = parse_handle(name_or_handle)
    if head and handle_head and head != handle_head:
        raise ValueError(f"The handle {name_or_handle!r} is for the head {handle_head}, not {head}.")
    constructor = CONSTRUCTORS[info.family]
    known = inspect.signature(constructor).parameters
    unknown = [argument for argument in overrides if argument not in known]
    if unknown:
        raise TypeError(f"{info.family} has no argument {', '.join(unknown)}; it has {', '.join(known)}.")
    published = {
        "depth_multiplier": info.depth_multiplier,
        "input_shape": (info.image_size, info.image_size, 3),
        "head": head or handle_head or "classification",
        "num_classes": info.num_classes,
        "name": info.name,
        **info.options,
    }
    return constructor(**(published | overrides))
