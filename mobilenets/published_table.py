"""The table of published models, and the names that follow from it: of the model, its archive and its checkpoint.

Accuracies, multiply-adds and parameters are those of Google's own tables (tensorflow/models, in ``research/slim``:
``README.md``, ``nets/mobilenet_v1.md``, ``nets/mobilenet/README.md``). Everything else is computed from them.

The code of MobileNet V3 gives fewer multiply-adds than published for small 1.0 (56.5 million, not 66) and small
minimalistic (52.3, not 65), and fewer parameters for small 1.0 (2.54 million, not 2.9) and small 0.75 (2.04, not 2.4).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A published model: top-1 and top-5 in percent, multiply-adds and parameters in millions (None: not published)."""

    family: str
    depth_multiplier: float
    image_size: int
    macs: float | None
    parameters: float | None
    top1: float
    top5: float | None
    options: Mapping[str, Any] = {}


ROWS = (
    Row("mobilenet_v2", 1.4, 224, 582, 6.06, 75.0, 92.5),
    Row("mobilenet_v2", 1.3, 224, 509, 5.34, 74.4, 92.1),
    Row("mobilenet_v2", 1.0, 224, 300, 3.47, 71.8, 91.0),
    Row("mobilenet_v2", 1.0, 192, 221, 3.47, 70.7, 90.1),
    Row("mobilenet_v2", 1.0, 160, 154, 3.47, 68.8, 89.0),
    Row("mobilenet_v2", 1.0, 128, 99, 3.47, 65.3, 86.9),
    Row("mobilenet_v2", 1.0, 96, 56, 3.47, 60.3, 83.2),
    Row("mobilenet_v2", 0.75, 224, 209, 2.61, 69.8, 89.6),
    Row("mobilenet_v2", 0.75, 192, 153, 2.61, 68.7, 88.9),
    Row("mobilenet_v2", 0.75, 160, 107, 2.61, 66.4, 87.3),
    Row("mobilenet_v2", 0.75, 128, 69, 2.61, 63.2, 85.3),
    Row("mobilenet_v2", 0.75, 96, 39, 2.61, 58.8, 81.6),
    Row("mobilenet_v2", 0.5, 224, 97, 1.95, 65.4, 86.4),
    Row("mobilenet_v2", 0.5, 192, 71, 1.95, 63.9, 85.4),
    Row("mobilenet_v2", 0.5, 160, 50, 1.95, 61.0, 83.2),
    Row("mobilenet_v2", 0.5, 128, 32, 1.95, 57.7, 80.8),
    Row("mobilenet_v2", 0.5, 96, 18, 1.95, 51.2, 75.8),
    Row("mobilenet_v2", 0.35, 224, 59, 1.66, 60.3, 82.9),
    Row("mobilenet_v2", 0.35, 192, 43, 1.66, 58.2, 81.2),
    Row("mobilenet_v2", 0.35, 160, 30, 1.66, 55.7, 79.1),
    Row("mobilenet_v2", 0.35, 128, 20, 1.66, 50.8, 75.0),
    Row("mobilenet_v2", 0.35, 96, 11, 1.66, 45.5, 70.4),
    # The graphs have more multiply-adds than published at 0.75, and fewer at 0.25 with 192 pixels.
    Row("mobilenet_v1", 1.0, 224, 569, 4.24, 70.9, 89.9),
    Row("mobilenet_v1", 1.0, 192, 418, 4.24, 70.0, 89.2),
    Row("mobilenet_v1", 1.0, 160, 291, 4.24, 68.0, 87.7),
    Row("mobilenet_v1", 1.0, 128, 186, 4.24, 65.2, 85.8),
    Row("mobilenet_v1", 0.75, 224, 317, 2.59, 68.4, 88.2),
    Row("mobilenet_v1", 0.75, 192, 233, 2.59, 67.2, 87.3),
    Row("mobilenet_v1", 0.75, 160, 162, 2.59, 65.3, 86.0),
    Row("mobilenet_v1", 0.75, 128, 104, 2.59, 62.1, 83.9),
    Row("mobilenet_v1", 0.5, 224, 150, 1.34, 63.3, 84.9),
    Row("mobilenet_v1", 0.5, 192, 110, 1.34, 61.7, 83.6),
    Row("mobilenet_v1", 0.5, 160, 77, 1.34, 59.1, 81.9),
    Row("mobilenet_v1", 0.5, 128, 49, 1.34, 56.3, 79.4),
    Row("mobilenet_v1", 0.25, 224, 41, 0.47, 49.8, 74.2),
    Row("mobilenet_v1", 0.25, 192, 34, 0.47, 47.7, 72.3),
    Row("mobilenet_v1", 0.25, 160, 21, 0.47, 45.5, 70.3),
    Row("mobilenet_v1", 0.25, 128, 14, 0.47, 41.5, 66.3),
    Row("mobilenet_v3", 1.0, 224, 217, 5.4, 75.2, None, {"variant": "large"}),
    Row("mobilenet_v3", 0.75, 224, 155, 4.0, 73.3, None, {"variant": "large"}),
    Row("mobilenet_v3", 1.0, 224, 66, 2.9, 67.5, None, {"variant": "small"}),
    Row("mobilenet_v3", 0.75, 224, 44, 2.4, 65.4, None, {"variant": "small"}),
    Row("mobilenet_v3", 1.0, 224, 209, 3.9, 72.3, None, {"variant": "large", "minimalistic": True}),
    Row("mobilenet_v3", 1.0, 224, 65, 2.0, 61.9, None, {"variant": "small", "minimalistic": True}),
    Row("inception_v2", 1.0, 224, None, None, 73.9, 91.8),
)


# Steps in the names of the averaged checkpoints.
_V3_STEPS = {
    "mobilenet_v3_large_100_224": 540000,
    "mobilenet_v3_large_075_224": 220000,
    "mobilenet_v3_small_100_224": 388500,
    "mobilenet_v3_small_075_224": 497500,
    "mobilenet_v3_large_minimalistic_100_224": 342500,
    "mobilenet_v3_small_minimalistic_100_224": 498000,
}


def model_name(row: Row) -> str:
    if row.family == "inception_v2":
        return row.family
    return f"{_family_name(row, '_')}_{round(100 * row.depth_multiplier):03d}_{row.image_size}"


def _family_name(row: Row, joint: str) -> str:
    """Returns the family, with the variant of a MobileNet V3."""
    if row.family != "mobilenet_v3":
        return row.family
    parts = [row.family, row.options["variant"], *(["minimalistic"] if row.options.get("minimalistic") else [])]
    return joint.join(map(str, parts))


def archive_name(row: Row) -> str:
    """Returns the name of the archive, without suffix."""
    if row.family == "inception_v2":
        return "inception_v2_2016_08_28"
    if row.family == "mobilenet_v3":
        return f"{_family_name(row, '-').removeprefix('mobilenet_')}_{row.image_size}_{row.depth_multiplier}_float"
    return f"{row.family}_{row.depth_multiplier}_{row.image_size}"


def checkpoint_path(row: Row) -> str:
    """Returns the prefix of the checkpoint in the archive."""
    archive = archive_name(row)
    paths = {
        "mobilenet_v2": f"{archive}/{archive}.ckpt",
        "mobilenet_v1": f"{archive}.ckpt",
        "mobilenet_v3": f"{archive}/ema/model-{_V3_STEPS.get(model_name(row))}",
    }
    return paths.get(row.family, f"{row.family}.ckpt")
