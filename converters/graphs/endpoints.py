"""The endpoints of a slim graph: the names of its operations, with and without the Identity operations of slim."""

import re
from collections.abc import Iterable

from mobilenets import SCOPES

_SCOPE = rf"^(?P<prefix>(?:.*?/)?)(?P<scope>{'|'.join(SCOPES.values())})/"
_BLOCK = r"expanded_conv(?:_(?P<block>\d{1,3}))?/"
_FUSED = r"FusedBatchNorm(?:V2|V3)?"

# (pattern of an operation's name, its endpoint), best first. V1 and Inception V2 open their scope twice, MobileNet V2
# once. Tools that remove Identity operations and fold batch norms leave the operation before the endpoint.
_OPERATIONS = [
    (re.compile(_SCOPE + pattern), endpoint)
    for pattern, endpoint in [
        (r"(?P=scope)/(?P<name>[^/]+)/(?:Relu6?|MaxPool|concat(?:_v2)?)$", "{name}"),
        (r"Conv/Relu6$", "layer_1"),
        (r"Conv_1/Relu6$", "layer_19"),
        (_BLOCK + r"(?P<name>(?:expansion_|depthwise_)?output)$", "layer_{layer}/{name}"),
        (_BLOCK + r"expand/Relu6$", "layer_{layer}/expansion_output"),
        (_BLOCK + r"depthwise/Relu6$", "layer_{layer}/depthwise_output"),
        (_BLOCK + r"add$", "layer_{layer}/output"),
        (_BLOCK + r"project/Identity$", "layer_{layer}/output"),
        (_BLOCK + rf"project/BatchNorm/{_FUSED}$", "layer_{layer}/output"),
        (_BLOCK + r"project/BatchNorm/batchnorm(?:_\d+)?/add_1$", "layer_{layer}/output"),
        (_BLOCK + r"project/(?:add_fold|BiasAdd)$", "layer_{layer}/output"),
        (r"Logits/(?:AvgPool(?:_1a[^/]*/AvgPool)?|global_pool|GlobalPool)$", "global_pool"),
        (r"Logits/(?:Spatial)?Squeeze$", "Logits"),
        (r"Logits/output$", "Logits"),
        (r"Logits/Conv2d_1c_1x1/BiasAdd$", "Logits"),
        (r"Predictions/Reshape_1$", "Predictions"),
        (r"Predictions/Softmax$", "Predictions"),
    ]
]
_MAX_LENGTH = 1000  # of a name that can be an endpoint
_SCOPED = re.compile(_SCOPE + r"(?:(?P=scope)/)?(?P<rest>.+)$")


def endpoint_ops(op_names: Iterable[str]) -> dict[str, str]:
    """``{hub endpoint name: op name}`` of a slim graph whose ops have these names.

    Where the graph has the network several times, under several prefixes, the one with the most endpoints counts.
    """
    found: dict[str, dict[str, tuple[int, str]]] = {}
    for op_name in op_names:
        if not _may_be_scoped(op_name):
            continue
        for rank, (pattern, endpoint) in enumerate(_OPERATIONS):
            if match := pattern.match(op_name):
                parts = match.groupdict(default="0")
                # Block n of MobileNet V2 is layer n + 2; the first block bears no number.
                name = endpoint.format(name=parts.get("name"), layer=int(parts.get("block", 0)) + 2)
                network = found.setdefault(parts["prefix"] + parts["scope"], {})
                network[f"{parts['scope']}/{name}"] = min(
                    (rank, op_name), network.get(f"{parts['scope']}/{name}", (rank, op_name))
                )
    best = max(found.values(), key=len, default={})
    operations = {name: op_name for name, (_, op_name) in best.items()}
    aliases = {name.removesuffix("/output"): op for name, op in operations.items() if name.endswith("/output")}
    return operations | aliases


def plain_name(op_name: str) -> str | None:
    """An operation's name as slim names variables, without prefix and with its scope once; None outside of a network.

    ``import/MobilenetV1/MobilenetV1/Conv2d_0/Conv2D`` -> ``MobilenetV1/Conv2d_0/Conv2D``.
    """
    match = _SCOPED.match(op_name) if _may_be_scoped(op_name) else None
    return f"{match['scope']}/{match['rest']}" if match else None


def _may_be_scoped(op_name: str) -> bool:
    """Whether it is worth trying the patterns: a graph may have very many names, or very long ones."""
    return len(op_name) <= _MAX_LENGTH and any(scope in op_name for scope in SCOPES.values())
