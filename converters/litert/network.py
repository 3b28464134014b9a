"""A LiteRT model as one of the networks: its variables, strides, images and endpoints."""

import pathlib

import numpy as np

from converters.errors import ConversionError
from converters.litert.endpoints import endpoints
from converters.litert.layers import Layer, identify
from converters.litert.schema import read_model
from converters.litert.wiring import Wiring
from converters.relatives import refuse_relatives
from mobilenets import SCOPES

_PADS, _PASSING = ("PAD", "PADV2"), ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "PAD", "PADV2")
_FOREIGN = {"aspp": "a DeepLab network for segmentation", "BoxPredictor": "a detector"}
# What the gate of MobileNet V3 adds before its ReLU6; a converter adds it to the bias.
_GATE_SHIFT = 3.0


class LiteRTNetwork:
    """One of the networks in a ``.tflite`` file.

    Layers are identified by their names, or else, where a converter changed these, by the sequence of the kinds and
    kernel sizes of the convolutions.

    Args:
        path: the file.

    Attributes:
        family: one of `mobilenets.SCOPES`.
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
        self._model = model = read_model(path)
        self._wiring = Wiring(model)
        self._refuse_foreign()
        self.family, self._layers = identify(self._wiring, path)
        shape = model.tensors[model.inputs[0]].shape
        if len(shape) != 4 or shape[3] not in (1, 3):
            raise ConversionError(f"{path} takes images of the shape {shape}, expected (1, height, width, 3 or 1).")
        self.image_size, self.channels = (shape[1], shape[2]), shape[3]
        self.quantized = any(model.tensors[layer.op.outputs[0]].scale.size for layer in self._layers)
        self.dense_head = any(layer.op.kind == "FULLY_CONNECTED" for layer in self._layers)
        self.input_range = self._input_range()
        self.explicit_padding = any(map(self._is_padded, self._layers))
        self.strides: dict[str, tuple] = {}
        for op, kernel, scope, _ in self._layers:
            if op.kind != "FULLY_CONNECTED" and max(*op.stride, *op.dilation, *kernel.shape[1:3]) > 1:
                self.strides[scope] = _short(op.stride), _short(op.dilation)

    def variables(self) -> dict[str, np.ndarray]:
        """Kernels and biases by slim name; those of an 8-bit model are dequantized."""
        variables: dict[str, np.ndarray] = {}
        separable = {layer.scope for layer in self._layers if layer.leaf == "pointwise_weights"}
        for layer in self._layers:
            op, kernel = layer.op, layer.kernel.dequantized()
            if op.kind == "FULLY_CONNECTED":
                kernel = kernel.T[np.newaxis, np.newaxis]
            elif op.kind == "CONV_2D":
                kernel = kernel.transpose(1, 2, 3, 0)
            else:
                inner = self._model.tensors[op.inputs[0]].shape[-1]
                kernel = kernel.reshape(*kernel.shape[1:3], inner, -1)
            variables[f"{layer.scope}/{layer.leaf}"] = np.ascontiguousarray(kernel)
            if layer.leaf != "depthwise_weights" or layer.scope not in separable:
                variables[f"{layer.scope}/biases"] = self._bias(layer)
        return variables

    def endpoints(self) -> dict[str, int]:
        """Returns ``{endpoint: index of its tensor}``."""
        return endpoints(self._wiring, self.family, self._layers)

    def _bias(self, layer: Layer) -> np.ndarray:
        op = layer.op
        bias = self._wiring.constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        channels = self._model.tensors[op.outputs[0]].shape[-1]
        values = np.zeros(channels, np.float32) if bias is None else bias.dequantized()
        is_gate = layer.scope.endswith("/squeeze_excite/Conv_1")
        return values - np.float32(_GATE_SHIFT) if is_gate and op.activation == "RELU6" else values

    def _is_padded(self, layer: Layer) -> bool:
        before = self._wiring.producer(layer.op.inputs[0])
        return not layer.op.same and before is not None and before.kind in _PADS

    def _refuse_foreign(self) -> None:
        names = [tensor.name for tensor in self._model.tensors]
        refuse_relatives(names, str(self.path))
        for name in names:
            for part, what in _FOREIGN.items():
                if part in name:
                    raise ConversionError(
                        f"{self.path} is {what} (it has {name}); expected a classifier or feature extractor of "
                        f"{', '.join(SCOPES.values())}."
                    )

    def _input_range(self) -> tuple[float, float]:
        """Returns the values that the arithmetic before the first convolution maps to -1 and 1."""
        scale, shift, index = 1.0, 0.0, self._layers[0].op.inputs[0]
        while index != self._model.inputs[0]:
            op = self._wiring.producer(index)
            if op is None:
                return -1.0, 1.0
            constants = [c for c in map(self._wiring.constant, op.inputs) if c is not None]
            if op.kind in ("MUL", "ADD", "SUB", "DIV") and len(constants) == 1 and constants[0].dequantized().size == 1:
                value = float(constants[0].dequantized().ravel()[0])
                factor = {"MUL": value, "DIV": 1 / value if value else 0.0}.get(op.kind, 1.0)
                shift += scale * {"ADD": value, "SUB": -value}.get(op.kind, 0.0)
                scale *= factor
                index = next(i for i in op.inputs if self._wiring.constant(i) is None)
            elif op.kind in _PASSING:
                index = op.inputs[0]
            else:
                return -1.0, 1.0
        low, high = ((target - shift) / scale if scale else target for target in (-1.0, 1.0))
        return round(low, 5) + 0.0, round(high, 5) + 0.0


def _short(axes: tuple[int, int]):
    return axes[0] if axes[0] == axes[1] else axes
