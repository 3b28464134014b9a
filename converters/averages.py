"""Plain or averaged values: decided from names alone.

A slim training checkpoint holds more than the network: the optimizer's slots of each variable and, where the trainer
kept one, its exponential moving average. The published accuracies and the hub modules of MobileNet V2 are those of the
averaged values, with the plain moving statistics (`mobilenet_example.ipynb` in tensorflow/models does the same:
``ema.variables_to_restore()`` maps trainable variables only).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from converters.errors import ConversionError
from converters.weights import is_trainable, leaf

AVERAGE = "ExponentialMovingAverage"
POLICIES = ("auto", "always", "never")


@dataclass(frozen=True)
class CheckpointNames:
    """The names in a checkpoint by their role.

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
    """Returns whether an entry of a checkpoint is the average of a variable."""
    return leaf(name) == AVERAGE


def choose(variables: Iterable[str], names: CheckpointNames, policy: str, source: str) -> dict[str, str]:
    """Which entry of the checkpoint gives each variable: ``{slim variable name: name in the checkpoint}``.

    Args:
        variables: those of the network.
        names: those in the checkpoint.
        policy: "auto" takes the averages where the checkpoint holds them for all trainable variables and the plain
            values where it holds none; "always" requires averages; "never" takes the plain values. Moving statistics
            are always the plain ones.
        source: what to call the checkpoint in an error.

    Raises:
        ConversionError: only some trainable variables have averages; or averages, or plain values, are required and
            missing.
        ValueError: unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"ema is {policy!r}; it must be one of {', '.join(POLICIES)}.")
    variables = sorted(variables)
    trainable = [name for name in variables if is_trainable(name)]
    without = [name for name in trainable if name not in names.averaged]
    take_averages = policy == "always" or (policy == "auto" and len(without) < len(trainable))
    if take_averages and without:
        raise ConversionError(
            f"{source} holds averages for {len(trainable) - len(without)} of {len(trainable)} trainable variables, "
            f"and ema={policy!r} needs one for each; without: {', '.join(without)}."
        )
    averages = {name: f"{name}/{AVERAGE}" for name in trainable if take_averages}
    only_averaged = [name for name in variables if name not in averages and name not in names.plain]
    if only_averaged:
        raise ConversionError(
            f"{source} holds averages but no plain values of {len(only_averaged)} variables that ema={policy!r} needs: "
            f"{', '.join(only_averaged)}."
        )
    return {name: averages.get(name, name) for name in variables}
