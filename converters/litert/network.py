"""A LiteRT model as one of the networks: which operation is which convolution, variables, strides and endpoints."""

import pathlib
import re
from collections.abc import Iterator

import numpy as np

from converters.errors import ConversionError
from converters.graphs.endpoints import endpoint_ops, plain_name
from converters.litert.schema import CONVOLUTIONS, Operator, Tensor, read_model
from mobilenets import SCOPES
from mobilenets.families import convolutions

_PASSING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "PAD", "PADV2")
_FOREIGN = {"MobilenetV3": "a MobileNet V3", "aspp": "a DeepLab network for segmentation", "BoxPredictor": "a detector"}


class LiteRTNetwork:
    """One of the networks in a ``.tflite`` file.

    Layers are identified by their names, or else, where a converter changed these, by the sequence of the kinds and
    kernel sizes of the convolutions.

    Args:
        path: the file.

    Attributes:
        family: "mobilenet_v1", "mobilenet_v2" or "inception_v2".
        image_size: height and width of the images.
        channels: of the images.
        input_range: the values of black and white that it takes.
        quantized: whether it computes with integers.
        dense_head: whether the logits are a fully connected layer rather than a 1x1 convolution.
        strides: ``{slim scope of a convolution: (stride, dilation)}``.
        explicit_padding: whether zeros are padded before convolutions.

    Raises:
        ConversionError: the file is damaged, or holds another network.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = path
        self.model = model = read_model(path)
        self._producers = {index: op for op in model.operators for index in op.outputs}
        self._readers: dict[int, list[Operator]] = {}
        for op in model.operators:
            for index in op.inputs:
                self._readers.setdefault(index, []).append(op)
        self._refuse_foreign()
        self._layers = [op for op in model.operators if op.kind in CONVOLUTIONS]
        self.family, self._scopes = self._identified()
        shape = model.tensors[model.inputs[0]].shape
        if len(shape) != 4 or shape[3] not in (1, 3):
            raise ConversionError(f"{path} takes images of the shape {shape}, expected (1, height, width, 3 or 1).")
        self.image_size, self.channels = (shape[1], shape[2]), shape[3]
        self.quantized = any(model.tensors[op.outputs[0]].scale.size for op in self._layers)
        self.dense_head = any(op.kind == "FULLY_CONNECTED" for op in self._layers)
        self.input_range = self._input_range()
        self.explicit_padding = any(
            not op.same
            and (before := self._producers.get(op.inputs[0])) is not None
            and before.kind in ("PAD", "PADV2")
            for op in self._layers
        )
        self.strides: dict[str, tuple] = {}
        for op, (scope, _) in zip(self._layers, self._scopes, strict=True):
            if op.kind != "FULLY_CONNECTED" and max(*op.stride, *op.dilation, *self._kernel(op).shape[1:3]) > 1:
                self.strides[scope] = _short(op.stride), _short(op.dilation)

    def variables(self) -> dict[str, np.ndarray]:
        """Kernels and biases by slim name; those of an 8-bit model are dequantized."""
        variables: dict[str, np.ndarray] = {}
        for op, (scope, leaf) in zip(self._layers, self._scopes, strict=True):
            kernel = self._kernel(op).dequantized()
            if op.kind == "FULLY_CONNECTED":
                kernel = kernel.T[np.newaxis, np.newaxis]
            elif op.kind == "CONV_2D":
                kernel = kernel.transpose(1, 2, 3, 0)
            else:
                inner = self.model.tensors[op.inputs[0]].shape[-1]
                kernel = kernel.reshape(*kernel.shape[1:3], inner, -1)
            variables[f"{scope}/{leaf}"] = np.ascontiguousarray(kernel)
            bias = self._constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
            channels = self.model.tensors[op.outputs[0]].shape[-1]
            if leaf != "depthwise_weights" or (scope, "pointwise_weights") not in self._scopes:
                variables[f"{scope}/biases"] = np.zeros(channels, np.float32) if bias is None else bias.dequantized()
        return variables

    def endpoints(self) -> dict[str, int]:
        """``{endpoint: index of its tensor}``."""
        tensors = self.model.tensors
        by_name = {
            tensor.name.partition(";")[0]: index for index, tensor in enumerate(tensors) if tensor.values is None
        }
        found = {endpoint: by_name[name] for endpoint, name in endpoint_ops(by_name).items()}
        scope = SCOPES[self.family]
        for op, (conv, leaf) in zip(self._layers, self._scopes, strict=True):
            if leaf == "depthwise_weights" and (conv, "pointwise_weights") in self._scopes:
                continue
            for name, index in self._own_endpoints(scope, conv, op.outputs[0]):
                found.setdefault(name, index)
                if name.endswith("/output"):
                    found.setdefault(name.removesuffix("/output"), found[name])
        return found

    def _own_endpoints(self, scope: str, conv: str, output: int) -> Iterator[tuple[str, int]]:
        readers = self._readers.get(output, [])
        if conv.endswith("/Logits/Conv2d_1c_1x1"):
            yield f"{scope}/Logits", output
            while readers and readers[0].kind in _PASSING:
                readers = self._readers.get(readers[0].outputs[0], [])
            if readers and readers[0].kind == "SOFTMAX":
                yield f"{scope}/Predictions", readers[0].outputs[0]
            return
        if self.family == "mobilenet_v1":
            yield conv, output
        elif self.family == "mobilenet_v2":
            sums = [op for op in readers if op.kind == "ADD" and self._producers.get(op.inputs[0])]
            own = [op for op in sums if self._is_last(op, output)]
            yield _v2_endpoint(conv), own[0].outputs[0] if own and conv.endswith("/project") else output
        pools = [op for op in readers if op.kind in ("AVERAGE_POOL_2D", "MEAN")]
        if pools:
            yield f"{scope}/global_pool", pools[0].outputs[0]

    def _is_last(self, op: Operator, output: int) -> bool:
        """Whether ``output`` is computed after the other summand, and so the block's own result."""
        order = {index: position for position, item in enumerate(self.model.operators) for index in item.outputs}
        return all(order.get(index, -1) <= order.get(output, -1) for index in op.inputs)

    def _refuse_foreign(self) -> None:
        for tensor in self.model.tensors:
            for part, what in _FOREIGN.items():
                if part in tensor.name:
                    raise ConversionError(
                        f"{self.path} is {what} (it has {tensor.name}); expected a classifier or feature extractor of "
                        f"{', '.join(scope for scope in SCOPES.values() if scope not in _FOREIGN)}."
                    )

    def _identified(self) -> tuple[str, list[tuple[str, str]]]:
        """The family, and scope and leaf of every convolution."""
        sizes = [self._signature(op) for op in self._layers]
        by_name = []
        for family in SCOPES:
            rows = _rows(family)
            names = [self._scope_in_names(op, {row[0] for row in rows}) for op in self._layers]
            if any(names):
                by_name.append((sum(name is not None for name in names), family, names))
            expected = [row[2:] for row in rows]
            for wanted in (expected, expected[:-1]):
                if len(wanted) == len(sizes) and all(map(_fits, sizes, wanted)):
                    return family, [row[:2] for row in rows[: len(sizes)]]
        for _, family, names in sorted(by_name, reverse=True):
            if all(names) and len(set(zip(names, sizes, strict=True))) == len(sizes):
                leaves = [_leaf(family, str(name), op.kind) for name, op in zip(names, self._layers, strict=True)]
                return family, list(zip(map(str, names), leaves, strict=True))
            missing = [self._kernel(op).name for op, name in zip(self._layers, names, strict=True) if name is None]
            raise ConversionError(
                f"{self.path} holds {SCOPES[family]}, but {len(missing)} of its {len(names)} convolutions are not of "
                f"that network: {', '.join(missing[:5])}."
            )
        kinds = [op.kind for op in self._layers]
        raise ConversionError(
            f"{self.path} is none of {', '.join(SCOPES.values())}: neither the names nor the sequence of its "
            f"{len(kinds)} convolutions and dense layers are theirs."
        )

    def _scope_in_names(self, op: Operator, scopes: set[str]) -> str | None:
        for index in (op.inputs[1], op.outputs[0]):
            for part in self.model.tensors[index].name.split(";"):
                name = plain_name(part) or ""
                for scope in sorted(scopes, key=len, reverse=True):
                    if name.startswith(scope + "/"):
                        return scope
        return None

    def _signature(self, op: Operator) -> tuple[str, tuple[int, ...]]:
        shape = self._kernel(op).shape
        return op.kind, shape[1:3] if op.kind != "FULLY_CONNECTED" else (1, 1)

    def _kernel(self, op: Operator) -> Tensor:
        kernel = self._constant(op.inputs[1]) if len(op.inputs) > 1 else None
        if kernel is None or len(kernel.shape) != (2 if op.kind == "FULLY_CONNECTED" else 4):
            raise ConversionError(f"{self.path} is none of these networks: a kernel of its {op.kind} is not constant.")
        return kernel

    def _constant(self, index: int) -> Tensor | None:
        """A constant, directly or behind the operation that widens float16 weights."""
        producer = self._producers.get(index)
        if producer is not None and producer.kind == "DEQUANTIZE":
            index = producer.inputs[0]
        tensor = self.model.tensors[index]
        return None if tensor.values is None else tensor

    def _input_range(self) -> tuple[float, float]:
        """The values that the arithmetic before the first convolution maps to -1 and 1."""
        scale, shift, index = 1.0, 0.0, self._layers[0].inputs[0]
        while index != self.model.inputs[0]:
            op = self._producers.get(index)
            if op is None:
                return -1.0, 1.0
            constants = [c for c in map(self._constant, op.inputs) if c is not None and c.values is not None]
            if op.kind in ("MUL", "ADD", "SUB", "DIV") and len(constants) == 1 and constants[0].dequantized().size == 1:
                value = float(constants[0].dequantized().ravel()[0])
                factor = {"MUL": value, "DIV": 1 / value if value else 0.0}.get(op.kind, 1.0)
                shift += scale * {"ADD": value, "SUB": -value}.get(op.kind, 0.0)
                scale *= factor
                index = next(i for i in op.inputs if self._constant(i) is None)
            elif op.kind in _PASSING:
                index = op.inputs[0]
            else:
                return -1.0, 1.0
        low, high = ((target - shift) / scale if scale else target for target in (-1.0, 1.0))
        return round(low, 5) + 0.0, round(high, 5) + 0.0


def _rows(family: str) -> list[tuple[str, str, str, int]]:
    """Scope, leaf, operation and kernel size of every convolution of a family, in order."""
    rows = []
    for conv in convolutions(family, 1.0, 1):
        if conv.kind != "full":
            rows.append((conv.scope, "depthwise_weights", "DEPTHWISE_CONV_2D", conv.kernel_size))
        if conv.kind != "depthwise":
            leaf, size = ("pointwise_weights", 1) if conv.kind == "separable" else ("weights", conv.kernel_size)
            rows.append((conv.scope, leaf, "CONV_2D", size))
    return rows


def _leaf(family: str, scope: str, kind: str) -> str:
    leaves = {operation: leaf for name, leaf, operation, _ in _rows(family) if name == scope}
    # A convolution of one channel (grayscale) is written as a depthwise one.
    return leaves.get(kind) or leaves["CONV_2D"]


def _fits(found: tuple[str, tuple[int, ...]], expected: tuple[str, int]) -> bool:
    kind, size = found
    if tuple(size) != (expected[1], expected[1]):
        return False
    return kind == expected[0] or (expected[0] == "CONV_2D" and (kind == "FULLY_CONNECTED" or expected[1] > 1))


def _short(axes: tuple[int, int]):
    return axes[0] if axes[0] == axes[1] else axes


def _v2_endpoint(scope: str) -> str:
    match = re.search(r"/expanded_conv(?:_(\d+))?/(expand|depthwise|project)$", scope)
    if match is None:
        return {"Conv": "MobilenetV2/layer_1", "Conv_1": "MobilenetV2/layer_19"}[scope.rpartition("/")[2]]
    output = {"expand": "expansion_output", "depthwise": "depthwise_output", "project": "output"}[match[2]]
    return f"MobilenetV2/layer_{int(match[1] or 0) + 2}/{output}"
