"""Inception V2 as a table (Ioffe and Szegedy 2015, figure 5; slim ``nets/inception_v2.py: inception_v2_base``)."""

from typing import NamedTuple

from mobilenets.convolution import Convolution, logits

SCOPE = "InceptionV2"


class Mixed(NamedTuple):
    """A module of four branches with stride 1; widths at multiplier 1.

    Attributes:
        name: slim scope within the network.
        direct: width of the 1x1 branch.
        single: widths of the branch 1x1, 3x3.
        double: widths of the branch 1x1, 3x3, 3x3, of which the last two are equal.
        pool: kind of the 3x3 pool in the last branch.
        projection: width of the 1x1 after that pool.
    """

    name: str
    direct: int
    single: tuple[int, int]
    double: tuple[int, int]
    pool: str
    projection: int


class Reduction(NamedTuple):
    """A module of three branches with stride 2 (two of convolutions, one max pool); widths at multiplier 1."""

    name: str
    single: tuple[int, int]
    double: tuple[int, int]


ROWS = (
    Mixed("Mixed_3b", 64, (64, 64), (64, 96), "AvgPool", 32),
    Mixed("Mixed_3c", 64, (64, 96), (64, 96), "AvgPool", 64),
    Reduction("Mixed_4a", (128, 160), (64, 96)),
    Mixed("Mixed_4b", 224, (64, 96), (96, 128), "AvgPool", 128),
    Mixed("Mixed_4c", 192, (96, 128), (96, 128), "AvgPool", 128),
    Mixed("Mixed_4d", 160, (128, 160), (128, 160), "AvgPool", 96),
    Mixed("Mixed_4e", 96, (128, 192), (160, 192), "AvgPool", 96),
    Reduction("Mixed_5a", (128, 192), (192, 256)),
    Mixed("Mixed_5b", 352, (192, 320), (160, 224), "AvgPool", 128),
    Mixed("Mixed_5c", 352, (192, 320), (192, 224), "MaxPool", 128),
)


class Pool(NamedTuple):
    """A 3x3 pool."""

    scope: str
    stride: int

    @property
    def kind(self) -> str:
        """ "AvgPool" or "MaxPool": the first word in the last part of the scope."""
        return self.scope.rsplit("/", 1)[-1].split("_")[0]


Branch = list[Convolution | Pool]


class Module(NamedTuple):
    """Branches with a common input and concatenated outputs."""

    scope: str
    branches: list[Branch]


class Network(NamedTuple):
    """The convolutions and pools of an Inception V2, in order."""

    trunk: Branch
    modules: list[Module]
    logits: Convolution


def channels(width: int, depth_multiplier: float) -> int:
    """Returns the scaled width, truncated and at least 16 (slim ``inception_v2_base: depth``)."""
    return max(int(width * depth_multiplier), 16)


class _Step(NamedTuple):
    """A convolution of a branch, or a pool if it has no width, before the multiplier is applied."""

    name: str
    width: int | None = None
    stddev: float | None = None
    stride: int = 1

    @property
    def kernel_size(self) -> int:
        return int(self.name[-1])


def _branches(row: Mixed | Reduction) -> list[list[_Step]]:
    """Returns the branches of a row. In slim a 1x1 before a 3x3, or after a pool, has its own initial deviation."""
    if isinstance(row, Reduction):
        return [
            [_Step("Conv2d_0a_1x1", row.single[0], 0.09), _Step("Conv2d_1a_3x3", row.single[1], stride=2)],
            [
                _Step("Conv2d_0a_1x1", row.double[0], 0.09),
                _Step("Conv2d_0b_3x3", row.double[1]),
                _Step("Conv2d_1a_3x3", row.double[1], stride=2),
            ],
            [_Step("MaxPool_1a_3x3", stride=2)],
        ]
    return [
        [_Step("Conv2d_0a_1x1", row.direct)],
        [_Step("Conv2d_0a_1x1", row.single[0], 0.09), _Step("Conv2d_0b_3x3", row.single[1])],
        [
            _Step("Conv2d_0a_1x1", row.double[0], 0.09),
            _Step("Conv2d_0b_3x3", row.double[1]),
            _Step("Conv2d_0c_3x3", row.double[1]),
        ],
        [_Step(f"{row.pool}_0a_3x3"), _Step("Conv2d_0b_1x1", row.projection, 0.1)],
    ]


def _chain(scope: str, steps: list[_Step], in_channels: int, reduction: int, depth_multiplier: float) -> Branch:
    """Computes the channels and the reduction of each step of a branch from the previous step."""
    branch: Branch = []
    for step in steps:
        reduction *= step.stride
        if step.width is None:
            branch.append(Pool(f"{scope}/{step.name}", step.stride))
            continue
        width = channels(step.width, depth_multiplier)
        branch.append(
            Convolution(
                f"{scope}/{step.name}",
                "full",
                step.kernel_size,
                in_channels,
                width,
                step.stride,
                reduction,
                batch_norm=("beta",),
                stddev=step.stddev,
            )
        )
        in_channels = width
    return branch


def _width(branch: Branch, in_channels: int) -> int:
    """Returns the output channels of a branch."""
    return next((step.out_channels for step in reversed(branch) if isinstance(step, Convolution)), in_channels)


def network(depth_multiplier: float, num_classes: int) -> Network:
    """Returns the convolutions and pools."""
    width = channels(64, depth_multiplier)
    # The stem is separable, with a bias and no batch norm: slim's arg scope normalizes `conv2d` only.
    stem = Convolution(
        f"{SCOPE}/Conv2d_1a_7x7",
        "separable",
        7,
        3,
        width,
        stride=2,
        reduction=2,
        batch_norm=(),
        stddev=1.0,
        channel_multiplier=min(width // 3, 8),
    )
    steps = [
        _Step("MaxPool_2a_3x3", stride=2),
        _Step("Conv2d_2b_1x1", 64, 0.1),
        _Step("Conv2d_2c_3x3", 192),
        _Step("MaxPool_3a_3x3", stride=2),
    ]
    trunk = [stem, *_chain(SCOPE, steps, width, 2, depth_multiplier)]
    previous, reduction = _width(trunk, 3), 8
    modules = []
    for row in ROWS:
        scope = f"{SCOPE}/{row.name}"
        branches = [
            _chain(f"{scope}/Branch_{index}", steps, previous, reduction, depth_multiplier)
            for index, steps in enumerate(_branches(row))
        ]
        modules.append(Module(scope, branches))
        previous = sum(_width(branch, previous) for branch in branches)
        reduction *= 2 if isinstance(row, Reduction) else 1
    return Network(trunk, modules, logits(SCOPE, previous, num_classes, stddev=None))


def convolutions(depth_multiplier: float, num_classes: int) -> list[Convolution]:
    """Returns the convolutions as one list, the logits last."""
    trunk, modules, classifier = network(depth_multiplier, num_classes)
    steps = [*trunk, *(step for module in modules for branch in module.branches for step in branch)]
    return [*(step for step in steps if isinstance(step, Convolution)), classifier]
