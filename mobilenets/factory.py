"""Published models by name."""

import inspect

import keras

from mobilenets.inception_v2 import InceptionV2
from mobilenets.mobilenet_v1 import MobileNetV1
from mobilenets.mobilenet_v2 import MobileNetV2
from mobilenets.published import parse_handle

CONSTRUCTORS = {"mobilenet_v1": MobileNetV1, "mobilenet_v2": MobileNetV2, "inception_v2": InceptionV2}


def build(name_or_handle: str, head: str | None = None, **overrides) -> keras.Model:
    """A published model's network, with new weights.

    Args:
        name_or_handle: as `get_model_info` takes it. A handle fixes the head:
            "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/classification/3" builds one that makes logits.
        head: "classification" (the default for a name), "feature_vector" or "feature_map".
        **overrides: keyword arguments of the family's constructor, in place of the published values.

    Returns:
        A model as `MobileNetV1`, `MobileNetV2` and `InceptionV2` make it.

    Raises:
        ValueError: for an unknown name, a head other than the handle's, or a value out of its range.
        TypeError: for an argument that the constructor does not have.
    """
    info, handle_head = parse_handle(name_or_handle)
    if head and handle_head and head != handle_head:
        raise ValueError(f"The handle {name_or_handle!r} asks for the head {handle_head}, not {head}.")
    constructor = CONSTRUCTORS[info.family]
    known = inspect.signature(constructor).parameters
    unknown = [argument for argument in overrides if argument not in known]
    if unknown:
        raise TypeError(f"{constructor.__name__} has no argument {', '.join(unknown)}; it has {', '.join(known)}.")
    published = {
        "depth_multiplier": info.depth_multiplier,
        "input_shape": (info.image_size, info.image_size, 3),
        "head": head or handle_head or "classification",
        "num_classes": info.num_classes,
        "name": info.name,
    }
    return constructor(**(published | overrides))
