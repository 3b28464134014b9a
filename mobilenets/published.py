"""The published models, as one table.

Accuracies, multiply-adds and parameters are those of Google's own tables (tensorflow/models, in ``research/slim``:
``README.md``, ``nets/mobilenet_v1.md``, ``nets/mobilenet/README.md``). Everything else is computed from them.

The code of MobileNet V3 gives fewer multiply-adds than published for small 1.0 (56.5 million, not 66) and small
minimalistic (52.3, not 65), and fewer parameters for small 1.0 (2.54 million, not 2.9) and small 0.75 (2.04, not 2.4).
"""

import dataclasses
import difflib
import fnmatch
import functools
import html
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mobilenets.archives import Archive, archives
from mobilenets.families import FAMILIES, convolutions, variable_shapes

HUB = "https://tfhub.dev/"
PUBLISHER = "google/imagenet/"
PREVIEW = "google/tf2-preview/mobilenet_v2"
"""Another handle of MobileNet V2 1.0 at 224 pixels, whose newest version is 4; that of the others is 5."""
PUBLISHED_CLASSES = 1001
"""Classes of the published models, with class 0 for "background"."""


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


@dataclasses.dataclass(frozen=True, repr=False)
class ModelInfo:
    """A published model.

    Attributes:
        name: such as "mobilenet_v2_035_96": family, multiplier times 100, image size.
        family: one of `mobilenets.SCOPES`.
        depth_multiplier: factor of the channels.
        image_size: height and width of the training images, in pixels.
        fixed_image_size: whether its hub modules accept that size only.
        num_features: length of the feature vector.
        num_classes: classes of the logits; class 0 is "background".
        archives: archives that hold the checkpoint, the one that its hub modules' pages name first; each has ``url``,
            ``mirrors``, ``sha256``, ``bytes`` and ``content``.
        checkpoint_url: URL of the first archive.
        checkpoint_path: prefix of the checkpoint inside the archive.
        hub_handle: handle of its hub modules, without "/classification/5" or "/feature_vector/5"; None for the
            minimalistic networks of MobileNet V3, which have none.
        parameters: number of parameters, with moving statistics and logits.
        trainable_parameters: number of trainable parameters, with logits.
        macs: multiply-adds for one image, with logits.
        published_macs_millions: multiply-adds as published; None for Inception V2.
        published_parameters_millions: parameters as published (for V2 without batch norms); None for Inception V2.
        top1: published accuracy on the ImageNet validation set, percent.
        top5: the same, for the five most probable classes; None for MobileNet V3.
        options: further arguments of the constructor: the variant of a MobileNet V3.
    """

    name: str
    family: str
    depth_multiplier: float
    image_size: int
    fixed_image_size: bool
    num_features: int
    num_classes: int
    archives: tuple[Archive, ...]
    checkpoint_url: str
    checkpoint_path: str
    hub_handle: str | None
    parameters: int
    trainable_parameters: int
    macs: int
    published_macs_millions: float | None
    published_parameters_millions: float | None
    top1: float
    top5: float | None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        """Returns the name and the facts that matter most, in one line."""
        return f"ModelInfo({self.name!r}, {self.parameters:,} parameters, top-1 {self.top1} %)"

    def _repr_html_(self) -> str:
        """Returns a table for notebooks."""
        rows = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in self.to_dict().items()
        )
        return f"<table>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as JSON values."""
        return dataclasses.asdict(self) | {
            "archives": [dataclasses.asdict(archive) | {"mirrors": list(archive.mirrors)} for archive in self.archives]
        }


def list_models(family: str | None = None) -> list[str]:
    """Returns the names of the published models.

    Args:
        family: one of `mobilenets.SCOPES`, a pattern of names with ``*``, ``?`` or ``[...]``, or None for all.

    Raises:
        ValueError: for another family. A pattern without a match gives an empty list.

    Example:
        >>> mobilenets.list_models("*v2*035_96")
        ['mobilenet_v2_035_96']
    """
    if family is not None and set(family) & set("*?["):
        return [name for name in map(_name, ROWS) if fnmatch.fnmatchcase(name, family)]
    families = list(dict.fromkeys(row.family for row in ROWS))
    if family not in (None, *families):
        raise ValueError(f'family must be one of {", ".join(families)} or a pattern such as "*v2*96*", not {family!r}.')
    return [_name(row) for row in ROWS if family in (None, row.family)]


def get_model_info(name_or_handle: str) -> ModelInfo:
    """Returns the facts of a published model.

    Args:
        name_or_handle: a name such as "mobilenet_v2_035_96", the name of its archive ("mobilenet_v2_0.35_96"), or a
            handle of one of its hub modules ("https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/classification/3",
            with or without the host and the last parts).

    Raises:
        ValueError: if no published model has this name.

    Example:
        >>> mobilenets.get_model_info("mobilenet_v2_035_96").top1
        45.5
    """
    return parse_handle(name_or_handle)[0]


def parse_handle(name_or_handle: str) -> tuple[ModelInfo, str | None]:
    """Returns the published model and the head in a handle ("classification" or "feature_vector"; None for a name).

    Raises:
        ValueError: if no published model has this name.
    """
    match = _parse(name_or_handle)
    info = _models().get(match["name"]) if match else None
    if match is None or info is None:
        short_name = str(name_or_handle).removeprefix(HUB).removeprefix(PUBLISHER)
        closest = difflib.get_close_matches(short_name.split("/")[0], list_models(), n=3, cutoff=0)
        raise ValueError(f"No published model is called {name_or_handle!r}; the closest are {', '.join(closest)}.")
    return info, match["head"]


def module_path(name_or_handle: str) -> str | None:
    """Returns the path of the hub module that a handle names, None for the name of a model.

    Raises:
        ValueError: if no published model has this name.

    Example:
        >>> mobilenets.module_path("mobilenet_v2_035_96/classification")
        'google/imagenet/mobilenet_v2_035_96/classification/5'
    """
    info, head = parse_handle(name_or_handle)
    match = _parse(name_or_handle)
    if match is None or head is None:
        return None
    path, newest = (PREVIEW, 4) if match["name"] == PREVIEW else (f"{PUBLISHER}{info.name}", 5)
    return f"{path}/{head}/{match['version'] or newest}"


def _parse(name_or_handle: str) -> re.Match | None:
    return re.fullmatch(
        rf"(https?://tfhub\.dev/)?({PUBLISHER})?(?P<name>{PREVIEW}|[^/]+?)"
        r"(/(?P<head>classification|feature_vector)(/(?P<version>\d+))?)?/?",
        str(name_or_handle),
    )


def model_in_file_name(file_name: str) -> ModelInfo | None:
    """Returns the published model that a file name contains, or None.

    Example:
        >>> mobilenets.model_in_file_name("mobilenet_v2_0.35_96.ckpt.index").name
        'mobilenet_v2_035_96'
    """
    if "inception_v2" in file_name:
        return get_model_info("inception_v2")
    if match := re.search(r"v3-(large|small)(-minimalistic)?_224_(1\.0|0\.75)_float", file_name):
        return _models().get(match[0])
    if match := re.search(r"mobilenet_v3_(large|small)(_minimalistic)?_(100|075)_224", file_name):
        return _models().get(match[0])
    match = re.search(r"(mobilenet_v[12])_(\d+(?:\.\d+)?)_(\d+)", file_name)
    if not match:
        return None
    multiplier = float(match[2]) if "." in match[2] else int(match[2]) / 100
    infos = map(get_model_info, list_models(match[1]))
    return next((i for i in infos if (i.depth_multiplier, i.image_size) == (multiplier, int(match[3]))), None)


@functools.cache
def _models() -> dict[str, ModelInfo]:
    """Returns every model under its name and under the name of its archive."""
    models = {alias: info for row in ROWS for info in [_info(row)] for alias in (info.name, _archive(row))}
    return models | {PREVIEW: models["mobilenet_v2_100_224"]}


def _name(row: Row) -> str:
    if row.family == "inception_v2":
        return row.family
    return f"{_family_name(row, '_')}_{round(100 * row.depth_multiplier):03d}_{row.image_size}"


def _family_name(row: Row, joint: str) -> str:
    """Returns the family, with the variant of a MobileNet V3."""
    if row.family != "mobilenet_v3":
        return row.family
    parts = [row.family, row.options["variant"], *(["minimalistic"] if row.options.get("minimalistic") else [])]
    return joint.join(map(str, parts))


def _archive(row: Row) -> str:
    """Returns the name of the archive, without suffix."""
    if row.family == "inception_v2":
        return "inception_v2_2016_08_28"
    if row.family == "mobilenet_v3":
        return f"{_family_name(row, '-').removeprefix('mobilenet_')}_{row.image_size}_{row.depth_multiplier}_float"
    return f"{row.family}_{row.depth_multiplier}_{row.image_size}"


def _checkpoint(row: Row) -> str:
    """Returns the prefix of the checkpoint in the archive."""
    archive = _archive(row)
    paths = {
        "mobilenet_v2": f"{archive}/{archive}.ckpt",
        "mobilenet_v1": f"{archive}.ckpt",
        "mobilenet_v3": f"{archive}/ema/model-{_V3_STEPS.get(_name(row))}",
    }
    return paths.get(row.family, f"{row.family}.ckpt")


def _info(row: Row) -> ModelInfo:
    convs = convolutions(row.family, row.depth_multiplier, PUBLISHED_CLASSES, **row.options)
    shapes = variable_shapes(row.family, row.depth_multiplier, PUBLISHED_CLASSES, **row.options)
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    own = archives()[_name(row)]
    return ModelInfo(
        name=_name(row),
        family=row.family,
        depth_multiplier=row.depth_multiplier,
        image_size=row.image_size,
        fixed_image_size=FAMILIES[row.family].fixed_image_size,
        num_features=convs[-1].in_channels,
        num_classes=PUBLISHED_CLASSES,
        archives=own,
        checkpoint_url=own[0].url,
        checkpoint_path=_checkpoint(row),
        hub_handle=None if row.options.get("minimalistic") else f"{HUB}{PUBLISHER}{_name(row)}",
        parameters=sum(counts.values()),
        trainable_parameters=sum(count for name, count in counts.items() if "/moving_" not in name),
        macs=sum(conv.multiply_adds(row.image_size, row.image_size) for conv in convs),
        published_macs_millions=row.macs,
        published_parameters_millions=row.parameters,
        top1=row.top1,
        top5=row.top5,
        options=dict(row.options),
    )
