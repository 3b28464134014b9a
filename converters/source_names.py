"""The network in a source: which entry gives which variable, and what is set aside. Names and shapes decide."""

import dataclasses
from collections.abc import Mapping

from checkpoints import VariableFile
from checkpoints.plain_text import few
from converters.averages import AVERAGE, CheckpointNames
from converters.dense_head import dense_heads
from converters.differences import MOST_NAMES
from converters.recognition import Network, recognise
from converters.roles import RANGES, roles
from converters.scopes import find_scope, is_own_layer, outside_scopes, relative_names
from converters.weights import logits_names
from mobilenets.families import convolutions


@dataclasses.dataclass(frozen=True)
class NetworkView:
    """The variables of the one network in a source, under their slim names.

    Attributes:
        variables: the network's variables and averages, and what else is in its layers; arrays are read on access.
        names: the roles of these names.
        network: what they are the variables of.
        scope: the network's scope in the source.
        set_aside: ``{kind: count}`` of the other entries.
        notes: sentences on them for the user.
    """

    variables: VariableFile
    names: CheckpointNames
    network: Network
    scope: str
    set_aside: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def shapes(self) -> dict[str, tuple]:
        """``{slim variable name: shape}``, of averaged and plain variables."""
        return self.variables.renamed(self.names.owners()).shapes


def network_view(source: VariableFile, label: str, scope: str | None = None) -> NetworkView:
    """Finds the network in a source.

    Args:
        source: the opened source.
        label: what to call it in an error.
        scope: the network's scope; None where the source has only one network.

    Raises:
        ConversionError: there is no network, several, or none in ``scope``.
    """
    sorted_names = roles(source.shapes)
    owners = sorted_names.owners()
    shapes = {name: source.shapes[entry] for name, entry in owners.items()}
    place = find_scope(shapes, label, scope)
    inside = place.slim_names(shapes)
    entry_of = {slim: name for slim, name in inside.items() if _belongs(slim, place.family)}
    network = recognise({slim: shapes[name] for slim, name in entry_of.items()}, label)
    others = {name: shapes[name] for name in sorted(shapes.keys() - set(entry_of.values()))}

    notes = []
    weights, biases = logits_names(place.family)
    reshaped = {}
    candidates = {name: shape for name, shape in others.items()}
    if len(shapes.get(entry_of.get(weights, ""), ())) == 2:
        candidates |= {entry_of[name]: shapes[entry_of[name]] for name in (weights, biases) if name in entry_of}
    if network.num_classes is None or len(shapes[entry_of[weights]]) == 2:
        heads = dense_heads(candidates, _features(network))
        if len(heads) == 1:
            head = heads[0]
            entry_of |= {weights: head.weights, biases: head.biases}
            others = {name: shape for name, shape in others.items() if name not in head}
            reshaped = {weights: (1, 1, *shapes[head.weights])}
            network = dataclasses.replace(network, num_classes=shapes[head.weights][1])
            notes.append(
                f"The dense layer {head.weights} {shapes[head.weights]} is the classification layer: a 1x1 "
                "convolution of the pooled features computes the same."
            )
        elif heads:
            layers = ", ".join(head.weights for head in heads)
            notes.append(f"{label} holds {len(heads)} dense layers that may be the head; none is taken: {layers}.")

    on_top = [name for name in others if name in set(inside.values())]
    outside = [name for name in others if name not in set(on_top)]
    if on_top:
        listed = few(on_top, MOST_NAMES)
        notes.append(f"In {place.path or 'its scope'}, but not of the network, and set aside: {listed}.")
    if outside:
        counts = ", ".join(f"{count} in {scope}" for scope, count in outside_scopes(outside, place.path).items())
        notes.append(f"Outside of the network {place.path}, and set aside: {counts}.")
    if RANGES in sorted_names.companions:
        notes.append(
            f"{label} was trained for 8 bits; its {len(sorted_names.companions[RANGES])} {RANGES} are set aside, and "
            "the outputs are those of the float network."
        )

    network_names = CheckpointNames(
        plain=frozenset(slim for slim, name in entry_of.items() if name in sorted_names.plain),
        averaged=frozenset(slim for slim, name in entry_of.items() if name in sorted_names.averages),
        companions=sorted_names.companions,
    )
    entries = {slim: entry_of[slim] for slim in network_names.plain}
    entries |= {f"{slim}/{AVERAGE}": sorted_names.averages[entry_of[slim]] for slim in network_names.averaged}
    reshaped |= {f"{slim}/{AVERAGE}": shape for slim, shape in reshaped.items()}
    kinds = {"other layers in its scope": len(on_top), "outside of the network": len(outside)}
    return NetworkView(
        variables=source.renamed(entries, {name: shape for name, shape in reshaped.items() if name in entries}),
        names=network_names,
        network=network,
        scope=place.path,
        set_aside={kind: count for kind, count in kinds.items() if count},
        notes=tuple(notes),
    )


def _belongs(slim: str, family: str) -> bool:
    return slim.partition("/")[2] in relative_names(family) or is_own_layer(slim, family)


def _features(network: Network) -> int:
    """Returns how many features go into the logits."""
    layers = convolutions(network.family, network.depth_multiplier, **network.options)
    return layers[-1].in_channels
