"""The endpoints of a network in a LiteRT model: by the names of tensors, or by what reads the convolutions."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from converters.graphs.endpoints import endpoint_ops
from converters.litert.layers import Layer
from converters.litert.schema import Operator
from converters.litert.wiring import Wiring
from mobilenets import SCOPES, inception_v2_spec

_BLOCK = re.compile(r"/expanded_conv(?:_(\d+))?/(expand|depthwise|project|squeeze_excite)\b")
_PARTS = {"expand": "expansion_output", "depthwise": "depthwise_output", "project": "output"}
_MODULE = re.compile(rf"{inception_v2_spec.SCOPE}/Mixed_\w+(?=/)")
_RESHAPES = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
_POOLS = ("AVERAGE_POOL_2D", "MEAN")


def endpoints(wiring: Wiring, family: str, layers: Sequence[Layer]) -> dict[str, int]:
    """Returns ``{endpoint: index of its tensor}``.

    Args:
        wiring: of the model.
        family: of the network.
        layers: its convolutions.
    """
    tensors = wiring.model.tensors
    by_name = {tensor.name.partition(";")[0]: index for index, tensor in enumerate(tensors) if tensor.values is None}
    indices = {endpoint: by_name[name] for endpoint, name in endpoint_ops(by_name).items()}
    for name, index in _by_layers(wiring, SCOPES[family], layers):
        indices.setdefault(name, index)
        if name.endswith("/output"):
            indices.setdefault(name.removesuffix("/output"), indices[name])
    return indices


def _by_layers(wiring: Wiring, scope: str, layers: Sequence[Layer]) -> Iterator[tuple[str, int]]:
    separable = {layer.scope for layer in layers if layer.leaf == "pointwise_weights"}
    last_block = _last_block(layer.scope for layer in layers)
    for layer in layers:
        output = layer.op.outputs[0]
        if layer.scope == f"{scope}/Logits/Conv2d_1c_1x1":
            yield from _head(wiring, scope, output)
        elif layer.leaf == "depthwise_weights" and layer.scope in separable:
            continue
        elif (block := _BLOCK.search(layer.scope)) is not None:
            if block[2] in _PARTS:
                name = f"{scope}/layer_{int(block[1] or 0) + 2}/{_PARTS[block[2]]}"
                yield name, _block_part(wiring, block[2], output)
        elif scope == inception_v2_spec.SCOPE:
            yield from _inception_parts(wiring, layer.scope, wiring.activated(output))
        else:
            output = wiring.activated(output)
            number = {"Conv": 1, "Conv_1": last_block + 1, "Conv_2": last_block + 3}.get(layer.scope.rpartition("/")[2])
            yield (f"{scope}/layer_{number}" if number else layer.scope), output
            pools = [op.outputs[0] for op in wiring.readers(output) if op.kind in _POOLS]
            # MobileNet V3 pools before its last convolution.
            is_inner = layer.scope.endswith("/Conv_1") and any(other.scope.endswith("/Conv_2") for other in layers)
            # A pool of one position does nothing, and converters leave it out.
            if not pools and wiring.model.tensors[output].shape[1:3] == (1, 1):
                pools = [output]
            if pools:
                yield f"{scope}/layer_{last_block + 2}" if is_inner else f"{scope}/global_pool", pools[0]


def _last_block(scopes: Iterable[str]) -> int:
    """Returns the number of the last block's layer."""
    return max((int(match[1] or 0) + 2 for match in map(_BLOCK.search, scopes) if match), default=1)


def _inception_parts(wiring: Wiring, conv: str, output: int) -> Iterator[tuple[str, int]]:
    """Yields a convolution of the trunk and the pool after it, or a module that ends with this convolution's branch."""
    scope, readers = inception_v2_spec.SCOPE, wiring.readers(output)
    if (module := _MODULE.match(conv)) is None:
        yield conv, output
        trunk = inception_v2_spec.network(1.0, 1).trunk
        after = {layer.scope: following.scope for layer, following in itertools.pairwise(trunk)}
        yield from ((after[conv], op.outputs[0]) for op in readers if op.kind == "MAX_POOL_2D")
        return
    for joined in (op.outputs[0] for op in readers if op.kind == "CONCATENATION"):
        yield module[0], joined
        if module[0] == f"{scope}/{inception_v2_spec.ROWS[-1].name}":
            yield from ((f"{scope}/global_pool", op.outputs[0]) for op in wiring.readers(joined) if op.kind in _POOLS)


def _head(wiring: Wiring, scope: str, output: int) -> Iterator[tuple[str, int]]:
    yield f"{scope}/Logits", output
    readers: list[Operator] = wiring.readers(output)
    while readers and readers[0].kind in _RESHAPES:
        readers = wiring.readers(readers[0].outputs[0])
    if readers and readers[0].kind == "SOFTMAX":
        yield f"{scope}/Predictions", readers[0].outputs[0]


def _block_part(wiring: Wiring, part: str, output: int) -> int:
    """Returns the tensor of an inverted residual block's convolution, with activation or shortcut."""
    if part != "project":
        return wiring.activated(output)
    # A sum that the next block makes has a later summand.
    for op in wiring.readers(output):
        if op.kind == "ADD" and wiring.is_computed_last(output, op.inputs):
            return op.outputs[0]
    return output
