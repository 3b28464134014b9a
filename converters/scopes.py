"""Where in a file a network is: the scope that its variables have in common, at any depth and of any name.

Trainers, hub modules and detection models put a network under a scope of their own (``FeatureExtractor/MobilenetV2``,
``module/MobilenetV2``, ``clone_0/MobilenetV1``), and some rename its own scope (``mobilenet_v2``). The names of the
variables relative to that scope are the same in all of them.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mobilenets
from converters.differences import by_scope
from converters.errors import ConversionError
from converters.relatives import refuse_relatives
from mobilenets import SCOPES
from mobilenets.families import option_choices

# Variables of networks that people bring and this project does not have: (part of a name, name of the network).
_OTHER_NETWORKS = [
    ("inception_resnet", "Inception-ResNet"),
    ("inceptionresnet", "Inception-ResNet"),
    ("resnet", "a ResNet"),
    ("efficientnet", "an EfficientNet"),
    ("inceptionv1", "Inception V1"),
    ("inceptionv3", "Inception V3"),
    ("inceptionv4", "Inception V4"),
    ("vgg", "a VGG network"),
    ("nasnet", "a NASNet"),
    ("mnas", "a MnasNet"),
    ("densenet", "a DenseNet"),
]
_KERAS_OBJECTS = re.compile(
    r"(?:.*/)?layer(?:_with_weights)?-\d+/.*|.*/\.ATTRIBUTES/VARIABLE_VALUE|.*/(?:depthwise_|pointwise_)?kernel"
)


@dataclass(frozen=True)
class NetworkScope:
    """A network in a file.

    Attributes:
        family: one of `mobilenets.SCOPES`.
        path: the scope of its variables in the file; "" where they have none.
        count: how many of the family's variables are in it.
    """

    family: str
    path: str
    count: int

    def slim_names(self, names: Iterable[str]) -> dict[str, str]:
        """Returns ``{slim name: name in the file}`` of all names in the scope, whether the network has them or not.

        Example:
            >>> NetworkScope("mobilenet_v2", "module/MobilenetV2", 260).slim_names(["module/MobilenetV2/Conv/weights"])
            {'MobilenetV2/Conv/weights': 'module/MobilenetV2/Conv/weights'}
        """
        own, names = SCOPES[self.family], sorted(names)
        prefix = f"{self.path}/" if self.path else ""
        inside = {f"{own}/{name.removeprefix(prefix)}": name for name in names if name.startswith(prefix)}
        # Operations of slim's V1 and Inception V2 open the scope twice, and their logits once.
        *outer, last = self.path.split("/")
        if outer and outer[-1] == last:
            logits = "/".join([*outer, "Logits/"])
            for name in names:
                if name.startswith(logits):
                    inside.setdefault(f"{own}/Logits/{name.removeprefix(logits)}", name)
        return inside


@functools.cache
def relative_names(family: str) -> frozenset[str]:
    """The names of a family's variables relative to its scope; those that only some of its networks have included."""
    names = {name.partition("/")[2] for shapes in _networks(family, 1) for name in shapes}
    return frozenset(
        names | {name.removesuffix("beta") + "gamma" for name in names if name.endswith("/BatchNorm/beta")}
    )


def _networks(family: str, num_classes: int | None) -> list[dict[str, tuple]]:
    """Returns the shapes of the variables of a family's networks, one for each choice of its options."""
    return [mobilenets.variable_shapes(family, 1.0, num_classes, **options) for options in option_choices(family)]


@functools.cache
def _smallest(family: str) -> float:
    """Returns how many of a family's variables make a network: half of those of the shortest backbone."""
    return min(map(len, _networks(family, None))) / 2


@functools.cache
def _own_layers(family: str) -> re.Pattern[str]:
    """Matches the first part of a relative name that is a layer of the network, or has its numbering."""
    first = {name.partition("/")[0] for name in relative_names(family)} - {"Logits"}
    numbered = {re.sub(r"\d+[a-z]?(?=_|$)", r"\\d+[a-z]?", name) for name in first}
    return re.compile("|".join(sorted(numbered)))


def is_own_layer(slim_name: str, family: str) -> bool:
    """Returns whether a variable belongs to a layer of the network, or to one that continues its numbering.

    Such a variable changes what the network computes: ``expanded_conv_3/squeeze_excite``, ``Conv2d_99``. Others in the
    scope are layers that somebody put on top of the network.
    """
    return bool(_own_layers(family).fullmatch(slim_name.split("/")[1]))


def networks_in(names: Iterable[str]) -> list[NetworkScope]:
    """Finds the scopes that have at least half of a family's variables, the fullest first.

    Where the variables of one scope fit several families, the one of its name is taken, or else the fullest.
    """
    best: dict[str, NetworkScope] = {}
    for network in _candidates(names):
        if network.count >= _smallest(network.family):
            best.setdefault(network.path, network)
    return list(best.values())


def _candidates(names: Iterable[str]) -> list[NetworkScope]:
    """Returns every scope with at least one variable of a family, in the order of preference."""
    known = {family: relative_names(family) for family in SCOPES}
    counts: Counter[tuple[str, str]] = Counter()
    for name in set(names):
        parts = name.split("/")
        # The longest relative name has five parts.
        for cut in range(max(len(parts) - 6, 0), len(parts)):
            rest = "/".join(parts[cut:])
            counts.update((family, "/".join(parts[:cut])) for family in known if rest in known[family])
    scopes = [NetworkScope(family, path, count) for (family, path), count in counts.items()]
    return sorted(scopes, key=lambda n: (not _has_own_name(n), -n.count, n.path))


def _has_own_name(network: NetworkScope) -> bool:
    return network.path.rpartition("/")[2] == SCOPES[network.family]


def find_scope(names: Iterable[str], source: str, scope: str | None = None) -> NetworkScope:
    """Finds the one network among the variables of a file.

    Args:
        names: names of variables (or of the constants of a graph), without those that only training needs.
        source: what to call the file in an error.
        scope: the scope of the network, or one that only this network is in; None where the file has only one network.

    Raises:
        ConversionError: there is no network, several, or none in ``scope``.

    Example:
        >>> find_scope(variables, "model.ckpt").path
        'FeatureExtractor/MobilenetV2'
    """
    names = list(names)
    refuse_relatives(names, source)
    networks = networks_in(names)
    if scope is not None:
        asked = scope.strip("/")
        inside = [n for n in networks if n.path == asked] or [n for n in networks if _contains(asked, n.path)]
        inside = inside or [n for n in _candidates(names) if n.path == asked][:1]
        if not inside:
            raise ConversionError(f"{source} has no network in the scope {scope!r}: {_listed(networks, names)}")
        networks = inside
    if len(networks) > 1:
        raise ConversionError(
            f"{source} holds {len(networks)} networks: {_paths(networks)}. Name one of them with --scope (scope=...)."
        )
    # A damaged file has less of its network; the error of the conversion then lists what is missing.
    parts = networks or [network for network in _candidates(names) if _has_own_name(network)][:1]
    if not parts:
        raise ConversionError(no_network(names, source))
    return parts[0]


def _contains(outer: str, path: str) -> bool:
    return path.startswith(f"{outer}/") if outer else True


def _paths(networks: Iterable[NetworkScope]) -> str:
    return ", ".join(f"{n.path or '(no scope)'} ({SCOPES[n.family]}, {n.count} variables)" for n in networks)


def _listed(networks: list[NetworkScope], names: list[str]) -> str:
    return f"it has {_paths(networks)}." if networks else f"its variables are in {_counts(names)}."


def _counts(names: Iterable[str]) -> str:
    return ", ".join(f"{scope} ({count})" for scope, count in by_scope(list(names), most=5).items())


def no_network(names: Iterable[str], source: str) -> str:
    """The sentence about a file without a network of this project, with what it holds instead if that is known."""
    names = list(names)
    text = f"{source} holds no network of {', '.join(SCOPES.values())}: its variables are in {_counts(names)}."
    if any(name.endswith(":0") for name in names) and not any(name.endswith("weights:0") for name in names):
        return f"{text} It is already a Keras model, or the weights of one: load it with Keras."
    if any(name.startswith(("mobilenet_v1.", "mobilenet_v2.")) for name in names):
        return f"{text} These are names of transformers: give the folder, with its config.json."
    counts = Counter(next((kind for part, kind in _OTHER_NETWORKS if part in name.lower()), "") for name in names)
    kind, _ = counts.most_common(1)[0] if counts else ("", 0)
    if kind:
        return f"{text} It is {kind}."
    if any(_KERAS_OBJECTS.fullmatch(name) for name in names):
        return f"{text} It is a checkpoint of Keras objects, whose variables have no slim names: load it with Keras."
    return text


def outside_scopes(names: Iterable[str], path: str) -> Mapping[str, int]:
    """Returns ``{scope: count}`` of names outside a network, each by the first part that is not the network's own."""
    own = path.split("/")

    def scope(name: str) -> str:
        parts = name.split("/")
        shared = next((i for i, (a, b) in enumerate(zip(parts, own, strict=False)) if a != b), 0)
        return "/".join(parts[: shared + 1])

    return dict(sorted(Counter(map(scope, names)).items()))
