"""Reads a ``.tflite`` file as plain data, with bounds on every count; nothing is run."""

import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from converters.errors import ConversionError
from converters.text import brief

_MAX_BYTES, _MAX_ITEMS, _MAX_RANK = 1 << 30, 20_000, 8
_DTYPES: dict[int, type] = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    7: np.int16,
    9: np.int8,
}
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


class Tensor(NamedTuple):
    """A tensor: ``values`` are those of a constant, else None; scale and zero point are empty where it is float."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    values: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    def dequantized(self) -> np.ndarray:
        """Returns the values of a constant as float32."""
        assert self.values is not None
        if not self.scale.size:
            return self.values.astype(np.float32)
        shape = [1] * len(self.shape)
        if self.scale.size > 1:
            shape[self.axis] = -1
        scale, zero = self.scale.reshape(shape), self.zero_point.reshape(shape)
        return ((self.values.astype(np.float64) - zero) * scale).astype(np.float32)


class Operator(NamedTuple):
    """An operation: indexes of its tensors, and of a convolution strides and dilations (height, width).

    Attributes:
        same: whether its padding is SAME.
        activation: what is fused into it: "NONE", "RELU", "RELU6" and so on.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    same: bool
    activation: str


class Model(NamedTuple):
    """The one subgraph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]


def read_model(path: str | pathlib.Path) -> Model:
    """Reads tensors and operations of a ``.tflite`` file.

    Raises:
        ConversionError: the file is damaged, or the package that knows its format is not installed.
        OSError: it cannot be read.
    """
    path = pathlib.Path(path)
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ConversionError(
            f"{path} is a LiteRT model; to read it, install ai-edge-litert (pip install 'mobilenets[litert]')."
        ) from error
    if path.stat().st_size > _MAX_BYTES:
        raise ConversionError(f"{path} is not read: it is larger than {_MAX_BYTES} bytes.")
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ConversionError(f"{path} is not a LiteRT model: the mark TFL3 of the format is missing.")
    try:
        return _model(schema, data)
    except ConversionError:
        raise
    except Exception as error:  # the generated reader raises nearly any type for a damaged file
        raise ConversionError(f"{path} is damaged or cut short: it cannot be read as a LiteRT model.") from error


def _model(schema: Any, data: bytes) -> Model:
    model = schema.Model.GetRootAs(data, 0)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [model.OperatorCodes(index) for index in range(_count(model.OperatorCodesLength()))]
    names = [kinds.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "unknown") for code in codes]
    if model.SubgraphsLength() != 1:
        raise ValueError("more than one subgraph")
    graph = model.Subgraphs(0)
    budget = [len(data)]
    tensors = [_tensor(model, graph.Tensors(index), budget) for index in range(_count(graph.TensorsLength()))]
    operators = [
        _operator(schema, graph.Operators(index), names, len(tensors))
        for index in range(_count(graph.OperatorsLength()))
    ]
    inputs = tuple(graph.Inputs(index) for index in range(_count(graph.InputsLength())))
    if len(inputs) != 1 or not 0 <= inputs[0] < len(tensors):
        raise ValueError("not one input")
    return Model(tuple(tensors), tuple(operators), inputs)


def _count(length: int) -> int:
    if length > _MAX_ITEMS:
        raise ValueError("too many parts")
    return length


def _tensor(model: Any, tensor: Any, budget: list[int]) -> Tensor:
    if tensor.ShapeLength() > _MAX_RANK:
        raise ValueError("too many axes")
    shape = tuple(int(tensor.Shape(index)) for index in range(tensor.ShapeLength()))
    dtype = np.dtype(_DTYPES.get(tensor.Type(), np.void))
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy() if 0 < tensor.Buffer() < model.BuffersLength() else 0
    values = None
    if not isinstance(raw, int) and dtype.kind != "V":
        budget[0] -= raw.nbytes
        if budget[0] < 0 or min(shape, default=0) < 0 or raw.nbytes != math.prod(shape) * dtype.itemsize:
            raise ValueError("a constant of another size")
        values = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    quantization = tensor.Quantization()
    scale, zero, axis = np.zeros(0), np.zeros(0), 0
    if quantization is not None and quantization.ScaleLength():
        scale = np.asarray(quantization.ScaleAsNumpy(), np.float64)
        zero = np.asarray(quantization.ZeroPointAsNumpy(), np.float64)
        zero = zero if quantization.ZeroPointLength() == scale.size else np.zeros_like(scale)
        axis = quantization.QuantizedDimension()
        if scale.size > 1 and (not 0 <= axis < len(shape) or scale.size != shape[axis]):
            raise ValueError("scales that do not fit")
    name = (tensor.Name() or b"").decode("utf-8", "replace")
    return Tensor(brief(name), shape, dtype, values, scale, zero, axis)


def _operator(schema: Any, operator: Any, names: list[str], tensors: int) -> Operator:
    kind = names[operator.OpcodeIndex()]
    inputs = tuple(int(operator.Inputs(index)) for index in range(_count(operator.InputsLength())))
    outputs = tuple(int(operator.Outputs(index)) for index in range(_count(operator.OutputsLength())))
    if not all(-1 <= index < tensors for index in (*inputs, *outputs)):
        raise ValueError("a tensor that is not in the file")
    stride, dilation, same, activation = (1, 1), (1, 1), True, "NONE"
    reader = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}.get(kind)
    table = operator.BuiltinOptions()
    if reader and table is not None:
        options = getattr(schema, reader)()
        options.Init(table.Bytes, table.Pos)
        stride = options.StrideH(), options.StrideW()
        dilation = options.DilationHFactor(), options.DilationWFactor()
        same = options.Padding() == schema.Padding.SAME
        code = options.FusedActivationFunction()
        activation = next(
            (name for name, value in vars(schema.ActivationFunctionType).items() if value == code), "NONE"
        )
    return Operator(kind, inputs, outputs, stride, dilation, same, activation)
