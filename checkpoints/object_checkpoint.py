"""Checkpoints of objects (`tf.train.Checkpoint`): entries are paths of objects, and a graph of them has the names."""

from collections import Counter
from pathlib import Path

from checkpoints.errors import CheckpointError
from checkpoints.tensor_bundle import open_v2, read_string
from checkpoints.variable_file import VariableFile
from checkpoints.wire import WireError, parse

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def open_checkpoint(prefix: Path) -> VariableFile:
    """Opens a checkpoint in V2 format; variables of objects get the names that they were created with.

    The names of the entries remain where two variables have the same name, as those of Keras layers have.

    Raises:
        CheckpointError: a file is missing, too short or damaged.
    """
    variables = open_v2(prefix)
    if not any(name.endswith(_VALUE) for name in variables):
        return variables
    try:
        graph = read_string(prefix, OBJECT_GRAPH)
        entries = entries_by_full_name(graph or b"", prefix)
        known = {name: entry for name, entry in entries.items() if entry in variables}
        return variables.renamed(known) if known else variables
    except BaseException:
        variables.close()
        raise


def entries_by_full_name(graph: bytes, path: Path) -> dict[str, str]:
    """Returns ``{variable name: entry}`` of a graph of objects; empty if names are not unique or lack a scope."""
    try:
        nodes = parse("TrackableObjectGraph", graph).nodes
    except WireError:
        raise CheckpointError(f"{path} is damaged: its graph of objects cannot be decoded.") from None
    values = {a.checkpoint_key: a.full_name for node in nodes for a in node.attributes if a.name == "VARIABLE_VALUE"}
    named = {key: name for key, name in values.items() if name}
    # Keras numbers the layers of a model in these paths; its variables have names within their layer only.
    # Names without a scope, such as "Variable", say less than the paths.
    unscoped = not any("/" in name for name in named.values())
    repeated = max(Counter(named.values()).values(), default=2) > 1
    if repeated or unscoped or any("layer_with_weights-" in key for key in values):
        return {}
    return {name: key for key, name in named.items()}
