"""The endpoints of a slim graph: the names of its operations, with and without the Identity operations of slim."""

import re
from collections.abc import Iterable

from mobilenets import SCOPES

_SCOPE = rf"^(?P<prefix>(?:.*?/)??)(?P<scope>{'|'.join(SCOPES.values())})/"
_BLOCK = r"expanded_conv(?:_(?P<block>\d{1,3}))?/"
_ACTIVATION = r"(?:Relu6?|hard_swish/mul_1)"
_FUSED = r"FusedBatchNorm(?:V2|V3)?"

# (pattern of an operation's name, its endpoint), best first; "after_n" is the nth layer after the last block. V1 and
# Inception V2 open their scope twice (once without a head), MobileNet V2 and V3 once. Tools that remove Identity
# operations and fold batch norms leave the operation before the endpoint.
_OPERATIONS = [
    (re.compile(_SCOPE + pattern), endpoint)
    for pattern, endpoint in [
        (r"(?:(?P=scope)/)?(?P<name>(?:Conv2d|MaxPool|Mixed)_[^/]+)/(?:Relu6?|MaxPool|concat(?:_v2)?)$", "{name}"),
        (rf"Conv/{_ACTIVATION}$", "layer_1"),
        (rf"Conv_1/{_ACTIVATION}$", "after_1"),
        (r"AvgPool2D/AvgPool$", "after_2"),
        (rf"Conv_2/{_ACTIVATION}$", "after_3"),
        (_BLOCK + r"(?P<name>(?:expansion_|depthwise_)?output)$", "layer_{layer}/{name}"),
        (_BLOCK + rf"expand/{_ACTIVATION}$", "layer_{layer}/expansion_output"),
        (_BLOCK + rf"depthwise/{_ACTIVATION}$", "layer_{layer}/depthwise_output"),
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
_AFTER = re.compile(r"(?<=/)after_(\d)$")
_LAYER = re.compile(r"/layer_(\d+)(?:/|$)")
_MAX_LENGTH = 1000  # of a name that can be an endpoint
_SCOPED = re.compile(_SCOPE + r"(?:(?P=scope)/)?(?P<rest>.+)$")


def endpoint_ops(op_names: Iterable[str], scope: str | None = None) -> dict[str, str]:
    """Returns ``{hub endpoint name: op name}`` of a slim graph whose ops have these names.

    Where the graph has several networks, under several prefixes, the one with the prefix of ``scope`` counts, or else
    the one with the most endpoints.
    """
    networks: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
    for op_name in op_names:
        if not _may_be_scoped(op_name):
            continue
        for rank, (pattern, endpoint) in enumerate(_OPERATIONS):
            if match := pattern.match(op_name):
                parts = match.groupdict(default="0")
                # Block n of MobileNet V2 or V3 is layer n + 2; the first block has no number.
                name = endpoint.format(name=parts.get("name"), layer=int(parts.get("block", 0)) + 2)
                network = networks.setdefault((parts["prefix"], parts["scope"]), {})
                network[f"{parts['scope']}/{name}"] = min(
                    (rank, op_name), network.get(f"{parts['scope']}/{name}", (rank, op_name))
                )
    prefix = None if scope is None else "".join(scope.rpartition("/")[:2])
    asked = {key: network for key, network in networks.items() if key[0] == prefix}
    best = max((asked or networks).values(), key=len, default={})
    operations = {_numbered(name, best): op_name for name, (_, op_name) in best.items()}
    aliases = {name.removesuffix("/output"): op for name, op in operations.items() if name.endswith("/output")}
    return operations | aliases


def _numbered(name: str, names: Iterable[str]) -> str:
    """Returns the endpoint with its number in place of "after_n", counted from the last block that the graph has."""
    if not (match := _AFTER.search(name)):
        return name
    blocks = [int(layer[1]) for layer in map(_LAYER.search, names) if layer]
    return _AFTER.sub(f"layer_{max(blocks, default=1) + int(match[1])}", name)


def plain_name(op_name: str) -> str | None:
    """An operation's name as slim names variables, without prefix and with its scope once; None outside of a network.

    ``import/MobilenetV1/MobilenetV1/Conv2d_0/Conv2D`` -> ``MobilenetV1/Conv2d_0/Conv2D``.
    """
    match = _SCOPED.match(op_name) if _may_be_scoped(op_name) else None
    return f"{match['scope']}/{match['rest']}" if match else None


def _may_be_scoped(op_name: str) -> bool:
    """Returns whether it is worth trying the patterns: a graph may have very many names, or very long ones."""
    return len(op_name) <= _MAX_LENGTH and any(scope in op_name for scope in SCOPES.values())
