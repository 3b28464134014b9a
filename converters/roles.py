"""The role of each entry of a trainer's checkpoint: a variable, its average, or something that only training needs.

Roles follow from names and shapes. Optimizers name their slots ``<variable>/<word>`` (``RMSProp_1``, ``Adadelta``,
``Ftrl``), and put the scope before the variable that was open when they were made (``train/<variable>/RMSProp``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from converters.averages import AVERAGE, is_average

Shapes = Mapping[str, tuple]

# A trainer's counters, and the helpers of `assign_moving_average(zero_debias=True)`, in any scope.
_COUNTER = re.compile(r"(?:.*/)?((?:global_step|beta[12]_power|biased|local_step)(?:_\d+)?)")
# `tf.contrib.quantize` keeps the range of weights and of activations, with helpers and slots under it.
_RANGE = re.compile(r".*quant/(?:.*/)?(?:min|max)(?:/.*)?")
RANGES = "quantization ranges"
_SLOT = re.compile(r"(.+)/([A-Za-z]\w*)")


@dataclass(frozen=True)
class Roles:
    """The entries of a checkpoint by their role.

    Attributes:
        plain: the variables themselves.
        averages: ``{variable: entry that has its average}``.
        companions: ``{kind: entries}`` that only training needs: slots, counters, quantization ranges.
    """

    plain: frozenset[str]
    averages: Mapping[str, str]
    companions: Mapping[str, list[str]]

    def owners(self) -> dict[str, str]:
        """Returns ``{variable: an entry that has its shape}``, of every variable, averaged or plain."""
        return {**self.averages, **{name: name for name in self.plain}}


def roles(shapes: Shapes) -> Roles:
    """Separates variables from averages, slots, counters and quantization ranges.

    A slot without a variable of its name and shape remains among the variables, so the conversion reports it.

    Args:
        shapes: ``{entry: shape}`` of a whole checkpoint.
    """
    companions: dict[str, list[str]] = {}
    variables = {}
    for name, shape in sorted(shapes.items()):
        if _RANGE.fullmatch(name):
            companions.setdefault(RANGES, []).append(name)
        elif counter := _COUNTER.fullmatch(name):
            companions.setdefault(counter[1], []).append(name)
        elif not is_average(name):
            variables[name] = shape
    entries = [name for name in sorted(shapes) if is_average(name) and not _RANGE.fullmatch(name)]
    averages = _averages(entries, variables)
    owners = {**{owner: shapes[entry] for owner, entry in averages.items()}, **variables}
    slots = {
        name: match[2] for name in variables if (match := _SLOT.fullmatch(name)) and _is_slot(match[1], name, owners)
    }
    for name, kind in slots.items():
        companions.setdefault(kind, []).append(name)
    return Roles(frozenset(variables.keys() - slots.keys()), averages, companions)


def _averages(entries: list[str], variables: Shapes) -> dict[str, str]:
    """``{variable: its average}``; a scope before the variable's name counts only if the variable has no other."""
    named = {entry: entry.removesuffix(f"/{AVERAGE}") for entry in entries}
    averages = {owner: entry for entry, owner in named.items() if owner in variables}
    for entry, owner in named.items():
        if owner not in variables:
            inner = next((name for name in _suffixes(owner) if name in variables), owner)
            averages.setdefault(inner, entry)
    return averages


def _is_slot(owner: str, slot: str, owners: Shapes) -> bool:
    return any(owners.get(name) == owners[slot] for name in _suffixes(owner))


def _suffixes(path: str) -> Iterator[str]:
    """``a/b/c``, ``b/c``, ``c``."""
    while path:
        yield path
        path = path.partition("/")[2]
