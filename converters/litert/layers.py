"""Which operation of a LiteRT model is which convolution of a network: by names, or by the sequence of kernel sizes."""

import functools
from typing import NamedTuple

from checkpoints.plain_text import few
from converters.errors import ConversionError
from converters.graphs.endpoints import plain_name
from converters.litert.schema import CONVOLUTIONS, Operator, Tensor
from converters.litert.wiring import Wiring
from mobilenets import SCOPES
from mobilenets.families import convolutions, option_choices

# A network may end before its logits, and a MobileNet V3 before the convolution after its pool.
_LEFT_OUT = (0, 1, 2)


class Row(NamedTuple):
    """A convolution of a network: scope, leaf of the kernel's name, operation, kernel size."""

    scope: str
    leaf: str
    operation: str
    kernel_size: int


class Layer(NamedTuple):
    """A convolution or dense layer of a model, its kernel, and what it is in slim's network."""

    op: Operator
    kernel: Tensor
    scope: str
    leaf: str


def identify(wiring: Wiring, path: object) -> tuple[str, list[Layer]]:
    """Finds the family of a model, and what each of its convolutions is.

    Args:
        wiring: of the model.
        path: the file, for the message.

    Raises:
        ConversionError: the convolutions are not those of a network of this project.
    """
    ops = [op for op in wiring.model.operators if op.kind in CONVOLUTIONS]
    kernels = [_kernel(wiring, op, path) for op in ops]
    names = {family: [_scope_in_names(wiring, op, family) for op in ops] for family in SCOPES}
    family = max(SCOPES, key=lambda family: sum(map(bool, names[family])))
    layers = [
        Layer(op, kernel, scope, _leaf(family, scope, op.kind))
        for op, kernel, scope in zip(ops, kernels, names[family], strict=True)
        if scope
    ]
    if ops and len({layer[2:] for layer in layers}) == len(ops):
        return family, layers
    if (sequence := _by_sequence(ops, kernels)) is not None:
        return sequence
    if not layers:
        raise ConversionError(
            f"{path} is none of {', '.join(SCOPES.values())}: neither the names nor the sequence of its {len(ops)} "
            "convolutions and dense layers are theirs."
        )
    others = [kernel.name for kernel, scope in zip(kernels, names[family], strict=True) if not scope]
    raise ConversionError(
        f"{path} holds {SCOPES[family]}, but {len(ops) - len(layers)} of its {len(ops)} convolutions are not of that "
        f"network: {few(others, 5)}."
    )


def _by_sequence(ops: list[Operator], kernels: list[Tensor]) -> tuple[str, list[Layer]] | None:
    """Identifies convolutions in the order of slim's graph whose names a converter changed."""
    shapes = [kernel.shape[1:3] if len(kernel.shape) == 4 else (1, 1) for kernel in kernels]
    sizes = [(op.kind, shape) for op, shape in zip(ops, shapes, strict=True)]
    for family in SCOPES:
        for rows in _networks(family):
            for left_out in _LEFT_OUT:
                expected = rows[: len(rows) - left_out]
                if len(expected) == len(sizes) and all(map(_fits, sizes, expected)):
                    layers = zip(ops, kernels, expected, strict=True)
                    return family, [Layer(op, kernel, row.scope, row.leaf) for op, kernel, row in layers]
    return None


@functools.cache
def _networks(family: str) -> list[list[Row]]:
    """Returns the rows of every network of a family that differ."""
    networks = [_rows(family, tuple(sorted(options.items()))) for options in option_choices(family)]
    return [rows for index, rows in enumerate(networks) if rows not in networks[:index]]


def _rows(family: str, options: tuple) -> list[Row]:
    """Returns every convolution of a network in the order of its graph; a separable one is two operations."""
    rows = []
    for conv in convolutions(family, 1.0, 1, **dict(options)):
        if conv.kind != "full":
            rows.append(Row(conv.scope, "depthwise_weights", "DEPTHWISE_CONV_2D", conv.kernel_size))
        if conv.kind != "depthwise":
            leaf, size = ("pointwise_weights", 1) if conv.kind == "separable" else ("weights", conv.kernel_size)
            rows.append(Row(conv.scope, leaf, "CONV_2D", size))
    return rows


def _leaf(family: str, scope: str, kind: str) -> str:
    leaves = {row.operation: row.leaf for rows in _networks(family) for row in rows if row.scope == scope}
    # A convolution of one channel (grayscale) is written as a depthwise one.
    return leaves.get(kind) or leaves["CONV_2D"]


def _fits(layer: tuple[str, tuple[int, ...]], expected: Row) -> bool:
    kind, size = layer
    if tuple(size) != (expected.kernel_size, expected.kernel_size):
        return False
    is_full = expected.operation == "CONV_2D"
    return kind == expected.operation or (is_full and (kind == "FULLY_CONNECTED" or expected.kernel_size > 1))


def _scope_in_names(wiring: Wiring, op: Operator, family: str) -> str | None:
    """Returns the convolution's slim scope, from the names of its kernel and of its output."""
    scopes = _scopes(family)
    for index in (*op.inputs[1:2], op.outputs[0]):
        for part in wiring.model.tensors[index].name.split(";"):
            name = plain_name(part) or ""
            for scope in scopes:
                if name.startswith(scope + "/"):
                    return scope
    return None


@functools.cache
def _scopes(family: str) -> list[str]:
    """Returns the scopes of a family's convolutions, inner ones first."""
    return sorted({row.scope for rows in _networks(family) for row in rows}, key=len, reverse=True)


def _kernel(wiring: Wiring, op: Operator, path: object) -> Tensor:
    kernel = wiring.constant(op.inputs[1]) if len(op.inputs) > 1 else None
    if kernel is None or len(kernel.shape) != (2 if op.kind == "FULLY_CONNECTED" else 4):
        raise ConversionError(f"{path} is none of these networks: a kernel of its {op.kind} is not constant.")
    return kernel
