"""The published models: what is known of each, and how people name them."""

import dataclasses
import difflib
import fnmatch
import functools
import html
import math
import re
from collections.abc import Mapping
from typing import Any

from mobilenets.archives import Archive, archives
from mobilenets.families import FAMILIES, convolutions, variable_shapes
from mobilenets.published_table import ROWS, Row, archive_name, checkpoint_path, model_name

HUB = "https://tfhub.dev/"
PUBLISHER = "google/imagenet/"
PREVIEW = "google/tf2-preview/mobilenet_v2"
"""Another handle of MobileNet V2 1.0 at 224 pixels, whose newest version is 4; that of the others is 5."""
PUBLISHED_CLASSES = 1001
"""Classes of the published models, with class 0 for "background"."""


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
        return [name for name in map(model_name, ROWS) if fnmatch.fnmatchcase(name, family)]
    families = list(dict.fromkeys(row.family for row in ROWS))
    if family not in (None, *families):
        raise ValueError(f'family must be one of {", ".join(families)} or a pattern such as "*v2*96*", not {family!r}.')
    return [model_name(row) for row in ROWS if family in (None, row.family)]


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
    models = {alias: info for row in ROWS for info in [_info(row)] for alias in (info.name, archive_name(row))}
    return models | {PREVIEW: models["mobilenet_v2_100_224"]}


def _info(row: Row) -> ModelInfo:
    convs = convolutions(row.family, row.depth_multiplier, PUBLISHED_CLASSES, **row.options)
    shapes = variable_shapes(row.family, row.depth_multiplier, PUBLISHED_CLASSES, **row.options)
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    own = archives()[model_name(row)]
    return ModelInfo(
        name=model_name(row),
        family=row.family,
        depth_multiplier=row.depth_multiplier,
        image_size=row.image_size,
        fixed_image_size=FAMILIES[row.family].fixed_image_size,
        num_features=convs[-1].in_channels,
        num_classes=PUBLISHED_CLASSES,
        archives=own,
        checkpoint_url=own[0].url,
        checkpoint_path=checkpoint_path(row),
        hub_handle=None if row.options.get("minimalistic") else f"{HUB}{PUBLISHER}{model_name(row)}",
        parameters=sum(counts.values()),
        trainable_parameters=sum(count for name, count in counts.items() if "/moving_" not in name),
        macs=sum(conv.multiply_adds(row.image_size, row.image_size) for conv in convs),
        published_macs_millions=row.macs,
        published_parameters_millions=row.parameters,
        top1=row.top1,
        top5=row.top5,
        options=dict(row.options),
    )
