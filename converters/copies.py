"""The archives of MobileNet V3 hold a network twice: averaged values in ``ema/``, the trainer's in ``pristine/``."""

import contextlib
import dataclasses

import checkpoints
from converters.averages import AVERAGE
from converters.opening import open_source
from converters.sources import Variables
from converters.weights import LEAVES, MOVING_STATISTICS, leaf

PRISTINE = "pristine"
_TRAINABLE = {name for leaves in LEAVES.values() for name in leaves.values()} - set(MOVING_STATISTICS)


def open_copy(source: Variables, ema: str = "auto") -> checkpoints.VariableFile:
    """Opens a source; of two checkpoints the one that a policy needs.

    The hub modules hold the values of ``ema/``. Its averages have the names of the variables; the view returned here
    gives them the names of averages in any other checkpoint. So they are counted and compared as averages.

    Args:
        source: what `converters.opening.open_source` takes.
        ema: "auto" and "always" open ``ema/``, "never" opens ``pristine/``.
    """
    with contextlib.ExitStack() as resources:
        variables = resources.enter_context(open_source(source, pristine=ema == "never"))
        view = variables
        if variables.copy == "ema":
            names = {f"{name}/{AVERAGE}" if leaf(name) in _TRAINABLE else name: name for name in variables}
            view = variables.renamed(names)
        return dataclasses.replace(view, resources=resources.pop_all())


def copy_notes(variables: checkpoints.VariableFile, ema: str) -> list[str]:
    """Sentences on the copy that was taken, if the source has two."""
    if variables.copy is None:
        return []
    values = "the trainer's own values" if variables.copy == PRISTINE else "the averaged values, as in the hub module"
    return [f"{variables.path} holds two checkpoints; {variables.copy}/ was taken (ema={ema!r}): {values}."]
