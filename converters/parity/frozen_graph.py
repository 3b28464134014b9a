"""A frozen slim graph (``.pb``) as a reference: it is run as it stands, and its ops are known by endpoint name."""

import pathlib
import re
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from converters.errors import ConversionError
from converters.parity.sessions import as_it_stands
from mobilenets import SCOPES

# (pattern of an op's name, its endpoint). A prefix may stand before the network's scope; V1 and Inception V2 open
# their scope twice, MobileNet V2 once.
_SCOPE = rf"^(?:.*/)?(?P<scope>{'|'.join(SCOPES.values())})/"
_OPS = [
    (re.compile(_SCOPE + pattern), endpoint)
    for pattern, endpoint in [
        (r"(?P=scope)/(?P<name>[^/]+)/(?:Relu6?|MaxPool|concat(?:_v2)?)$", "{name}"),
        (r"Conv/Relu6$", "layer_1"),
        (r"Conv_1/Relu6$", "layer_19"),
        (r"expanded_conv(?:_(?P<block>\d+))?/(?P<name>(?:expansion_|depthwise_)?output)$", "layer_{layer}/{name}"),
        (r"Logits/(?:AvgPool(?:_1a[^/]*/AvgPool)?|global_pool|GlobalPool)$", "global_pool"),
        (r"Logits/(?:Spatial)?Squeeze$", "Logits"),
        (r"Predictions/Reshape_1$", "Predictions"),
    ]
]


def endpoint_ops(op_names: Iterable[str]) -> dict[str, str]:
    """``{hub endpoint name: op name}`` of a slim graph whose ops have these names."""
    found = {}
    for op_name in op_names:
        for pattern, endpoint in _OPS:
            if match := pattern.match(op_name):
                parts = match.groupdict(default="0")
                # Block n of MobileNet V2 is layer n + 2; the first block bears no number.
                name = endpoint.format(name=parts.get("name"), layer=int(parts.get("block", 0)) + 2)
                found[f"{parts['scope']}/{name}"] = op_name
                if name.endswith("/output"):
                    found[f"{parts['scope']}/{name.removesuffix('/output')}"] = op_name
    return found


class FrozenGraph:
    """An inference graph with its variables frozen to constants.

    Args:
        path: the ``.pb`` file (a binary ``GraphDef``).
        float64: whether to compute in float64 what the file computes in float32.

    Attributes:
        image_size: ``(height, width)``, None where the graph leaves it open.
        dtype: "float32" or "float64".

    Raises:
        ConversionError: the file is no frozen slim graph of these networks.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | pathlib.Path, float64: bool = False):
        self._graph = tf.Graph()
        graph_def = _read(path)
        try:
            with self._graph.as_default():
                tf.import_graph_def(_as_float64(graph_def) if float64 else graph_def, name="")
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise ConversionError(f"{path} holds a graph that TensorFlow does not accept: {error}") from error
        operations = self._graph.get_operations()
        inputs = [operation.outputs[0] for operation in operations if operation.type == "Placeholder"]
        if len(inputs) != 1:
            raise ConversionError(f"{path} must have one placeholder, for the images; it has {len(inputs)}.")
        self._input = inputs[0]
        names = endpoint_ops(operation.name for operation in operations)
        if not names:
            raise ConversionError(f"{path} has no op that a slim graph of {', '.join(SCOPES.values())} has.")
        self._outputs = {name: self._graph.get_operation_by_name(op).outputs[0] for name, op in names.items()}
        self._batch, *size, _ = self._input.shape.as_list() if self._input.shape.rank == 4 else [None] * 4
        self.image_size = tuple(size)
        self.dtype = self._input.dtype.name
        # The graphs of hub modules scale [0, 1] themselves; slim's take [-1, 1].
        self._unit_range = any("hub_input/" in operation.name for operation in operations)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The hub names of the endpoints that the graph has."""
        return tuple(self._outputs)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every endpoint for ``images``.

        Args:
            images: float ``(batch, height, width, 3)`` in [0, 1].

        Returns:
            ``{hub endpoint name: array}``; ``global_pool`` is ``(batch, 1, 1, channels)``.
        """
        images = images.astype(self.dtype)
        if not self._unit_range:
            images = 2 * images - 1
        with tf.compat.v1.Session(graph=self._graph, config=as_it_stands()) as session:
            batches = [
                session.run(self._outputs, {self._input: batch})
                for batch in np.split(images, range(self._batch or len(images), len(images), self._batch or 1))
            ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self._outputs}


def _read(path: str | pathlib.Path) -> tf.compat.v1.GraphDef:
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(pathlib.Path(path).read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{path} is not a frozen graph (a binary GraphDef).") from error
    return graph_def


def _as_float64(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The same graph with every float32 a float64: constants, placeholders and the types of all ops."""
    widened = tf.compat.v1.GraphDef()
    for node in graph_def.node:
        widened.node.extend(_unfused(node) if node.op.startswith("FusedBatchNorm") else [node])
    for node in widened.node:
        for attribute in node.attr.values():
            if attribute.type == tf.float32.as_datatype_enum:
                attribute.type = tf.float64.as_datatype_enum
            if attribute.HasField("tensor") and attribute.tensor.dtype == tf.float32.as_datatype_enum:
                values = _widened(tf.make_ndarray(attribute.tensor))
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values, shape=values.shape))
    return widened


def _widened(values: np.ndarray) -> np.ndarray:
    """Variables value by value; a scalar (batch norm's epsilon) as the decimal that slim's code says: 0.001."""
    return values.astype(np.float64) if values.ndim else np.array(float(str(np.float32(values))))


def _unfused(node) -> Iterator:
    """The ops of an inference ``FusedBatchNorm``, which TensorFlow has in no float64; the last bears its name."""
    images, gamma, beta, mean, variance = node.input[:5]
    with tf.Graph().as_default() as graph:
        placeholders = [tf.compat.v1.placeholder(tf.float32, name=name) for name in "xgbmv"]
        x, g, b, m, v = placeholders
        scale = g * tf.math.rsqrt(v + tf.constant(node.attr["epsilon"].f))
        tf.add(x * scale, b - m * scale, name="out")
    sources = dict(zip("xgbmv", (images, gamma, beta, mean, variance), strict=True))
    for part in graph.as_graph_def().node:
        if part.op == "Placeholder":
            continue
        part.name = node.name if part.name == "out" else f"{node.name}/{part.name}"
        part.input[:] = [sources.get(source, f"{node.name}/{source}") for source in part.input]
        yield part
