"""Plain or averaged: decided once, from names alone.

A slim training checkpoint holds more than the network. Beside a variable stand the optimizer's slots and, where the
trainer kept one, its exponential moving average; the published accuracies and the hub modules of MobileNet V2 are
those of the averaged values, with the plain moving statistics (`mobilenet_example.ipynb` in tensorflow/models does
the same: ``ema.variables_to_restore()`` maps trainable variables only).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from converters.errors import ConversionError
from converters.weights import is_trainable, leaf

AVERAGE = "ExponentialMovingAverage"
# What stands beside a variable, under its name: `<variable>/<companion>`.
SLOTS = ("RMSProp", "RMSProp_1", "Momentum", "Adam", "Adam_1", "Adagrad")
# `assign_moving_average(zero_debias=True)` names its helpers under the variable, nested once more in the open scope.
ZERO_DEBIAS = ("biased", "local_step")
# What stands alone.
COUNTERS = ("global_step", "beta1_power", "beta2_power")
POLICIES = ("auto", "always", "never")


@dataclass(frozen=True)
class Sorted:
    """The names in a checkpoint, each in its place.

    Attributes:
        plain: the variables themselves.
        averaged: names of the variables that have an average.
        companions: ``{kind: names}`` of what is set aside: slots, counters, helpers.
    """

    plain: frozenset[str]
    averaged: frozenset[str]
    companions: Mapping[str, list[str]]

    def owners(self) -> dict[str, str]:
        """Every variable of the network, averaged or plain: ``{slim variable name: an entry that has its shape}``."""
        return {name: f"{name}/{AVERAGE}" for name in self.averaged} | {name: name for name in self.plain}


def is_average(name: str) -> bool:
    """Whether an entry of a checkpoint is the average of a variable."""
    return leaf(name) == AVERAGE


def sort_names(names: Iterable[str]) -> Sorted:
    """Tells the network's variables from what an optimizer and a trainer left beside them.

    A slot or an average counts as one only beside a variable (or an average) of that name: an orphan stays among the
    plain names, where the accounting reports it as left over.
    """
    averages = {name for name in names if is_average(name)}
    averaged = frozenset(name.removesuffix("/" + AVERAGE) for name in averages)
    others = set(names) - averages
    owners = others | averaged
    companions: dict[str, list[str]] = {}
    for name in sorted(others):
        owner, _, last = name.rpartition("/")
        if last in COUNTERS or last in ZERO_DEBIAS or (last in SLOTS and owner in owners):
            companions.setdefault(last, []).append(name)
    aside = {name for group in companions.values() for name in group}
    return Sorted(frozenset(others - aside), averaged, companions)


def choose(wanted: Iterable[str], found: Sorted, policy: str, source: str) -> dict[str, str]:
    """Which entry of the checkpoint gives each variable: ``{slim variable name: name in the checkpoint}``.

    Args:
        wanted: the variables of the network.
        found: what the checkpoint holds.
        policy: "auto" takes the averages where the checkpoint holds them for all trainable variables and the plain
            values where it holds none; "always" demands averages; "never" takes the plain values. Moving statistics
            are always the plain ones.
        source: what to call the checkpoint in an error.

    Raises:
        ConversionError: averages are there for some trainable variables only, or are demanded and missing; or the
            plain values are.
        ValueError: unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"ema is {policy!r}; it must be one of {', '.join(POLICIES)}.")
    wanted = sorted(wanted)
    trainable = [name for name in wanted if is_trainable(name)]
    without = [name for name in trainable if name not in found.averaged]
    take_averages = policy == "always" or (policy == "auto" and len(without) < len(trainable))
    if take_averages and without:
        raise ConversionError(
            f"{source} holds averages for {len(trainable) - len(without)} of {len(trainable)} trainable variables, "
            f"and ema={policy!r} needs one for each; without: {', '.join(without)}."
        )
    averages = {name: f"{name}/{AVERAGE}" for name in trainable if take_averages}
    only_averaged = [name for name in wanted if name not in averages and name not in found.plain]
    if only_averaged:
        raise ConversionError(
            f"{source} holds averages but no plain values of {len(only_averaged)} variables that ema={policy!r} needs: "
            f"{', '.join(only_averaged)}."
        )
    return {name: averages.get(name, name) for name in wanted}


class Chosen(Mapping):
    """A view of ``variables`` under other names; an array is read when it is asked for.

    Args:
        variables: ``{name in the checkpoint: array}``.
        sources: ``{name here: name in the checkpoint}``.
    """

    def __init__(self, variables: Mapping[str, np.ndarray], sources: Mapping[str, str]):
        self._variables, self._sources = variables, dict(sources)
        self.shapes = self._of_each("shapes", np.shape)
        self.dtypes = self._of_each("dtypes", lambda array: np.asarray(array).dtype)

    def _of_each(self, attribute, measure):
        known = getattr(self._variables, attribute, None)
        return {
            name: known[source] if known is not None else measure(self._variables[source])
            for name, source in self._sources.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._variables[self._sources[name]]

    def __iter__(self):
        return iter(self._sources)

    def __len__(self):
        return len(self._sources)
