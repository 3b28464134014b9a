"""The account of a conversion: what was taken, what was set aside, and what the user should know."""

import pathlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import checkpoints
from converters.averages import AVERAGE, is_average
from converters.errors import ConversionError
from converters.graph_facts import NOTHING, GraphFacts
from converters.recognition import Network
from converters.source_names import NetworkView
from converters.sources import Source, Variables
from converters.weights import weights_by_slim_name

FOLDED_NOTE = (
    "The batch norms of {} are folded into its weights. The model is a folded one, for inference: convolutions with "
    "biases, as mobilenets.fuse makes them. Convert the checkpoint, if you have it, for a model to train."
)


@dataclass(frozen=True)
class Conversion:
    """A converted model and the account of how it came about.

    Attributes:
        model: the Keras model.
        source: what the variables came from, as the user gave it.
        source_format: "tensorflow checkpoint v2", "hdf5" and so on; "mapping" for arrays in memory.
        source_files: the files that make up the source.
        configuration: family, depth multiplier, head and so on, as JSON values.
        averaged: how many variables took their averaged value.
        set_aside: ``{kind: count}`` of what the source holds and the model does not use.
        notes: sentences that the user should read.
        origin: the source itself: a path, or the mapping of arrays.
        published: the published model that the user says it is, if any.
        scope: the scope of the network in the source.
        copy: "ema" or "pristine" if the source holds these two checkpoints of one network: the one that was taken.
        fetched_from: the URL or path that a published model came from, if it was fetched.
        background_dropped: whether class 0 of the source was left out.
        new_head: whether the classification layer is new, with random weights.
        graph: what the source's graph says, if it has one.
    """

    model: keras.Model
    source: str
    source_format: str
    source_files: tuple[pathlib.Path, ...]
    configuration: Mapping[str, Any]
    averaged: int
    set_aside: Mapping[str, int]
    notes: tuple[str, ...]
    origin: Variables
    published: str | None
    scope: str = ""
    copy: str | None = None
    fetched_from: str | None = None
    background_dropped: bool = False
    new_head: bool = False
    graph: GraphFacts = NOTHING

    def facts(self) -> dict[str, object]:
        """Returns the account in short: ``{what: value}`` to print."""
        arguments = dict(self.configuration)
        return {
            "source": f"{self.source} ({self.source_format})",
            **({"fetched_from": self.fetched_from} if self.fetched_from else {}),
            "network": f"{arguments['family']}, depth multiplier {arguments['depth_multiplier']:g}",
            "published_model": arguments["name"] or "none that the source's name contains",
            "head": _head_text(self.model, arguments),
            "input": f"{'x'.join('any' if size is None else str(size) for size in arguments['input_shape'])}",
            "variables": len(weights_by_slim_name(self.model)),
            "of_them_averaged": self.averaged,
            "set_aside": ", ".join(f"{count} {kind}" for kind, count in self.set_aside.items()) or "nothing",
        }


def _head_text(model: keras.Model, arguments: Mapping) -> str:
    sizes = "x".join("?" if size is None else str(size) for size in model.output_shape[1:])
    return f"{arguments['head']} ({sizes})"


def end_notes(ends_at: str | None, source: str) -> list[str]:
    return [f"{source} has no convolutions after {ends_at}; the model is the feature map there."] if ends_at else []


def head_notes(network: Network, head: str | None, arguments: Mapping, unused: Set[str], source: str) -> list[str]:
    left_out = f" Not taken from the source: {', '.join(sorted(unused))}." if unused else ""
    if head is None and network.num_classes is None and arguments["head"] == "feature_vector":
        return [f"{source} holds no logits weights; the model is a feature vector model.{left_out}"]
    if arguments["head"] == "classification" and arguments["num_classes"] != network.num_classes:
        return [f"The classification layer is new, for {arguments['num_classes']} classes, and untrained.{left_out}"]
    return []


def origin_notes(source: Source, kind: str) -> list[str]:
    """Returns what was taken in the place of an archive that could not be fetched."""
    if source.replaces is None:
        return []
    return [
        f"No source had the archive {source.replaces} of {source.published}. The variables are those of "
        f"{source.fetched_from} ({kind}), whose sha256 is not pinned."
    ]


def finiteness_notes(variables: Mapping[str, np.ndarray], strict: bool, source: str) -> list[str]:
    """Returns a warning that names every variable with a NaN or an infinity in it; an error if ``strict``."""
    names = [name for name, array in variables.items() if not np.isfinite(array).all()]
    if not names:
        return []
    note = f"{source} holds NaN or infinity in {len(names)} variable(s): {', '.join(names)}."
    if strict:
        raise ConversionError(note)
    return [note]


def checksum_notes(variables: checkpoints.VariableFile) -> list[str]:
    """Returns a note on a file without checksums: only its origin can confirm its sha256."""
    if variables.checked:
        return []
    sums = ", ".join(checkpoints.sha256(path) for path in variables.files)
    return [
        f"{variables.path} ({variables.format}) has no checksums, which would detect a damaged value; its sha256 is "
        f"{sums}: compare it with that of the origin."
    ]


def set_aside(view: NetworkView, entries: Mapping[str, str], unused: Set[str]) -> dict[str, int]:
    """Returns ``{kind: count}`` of the entries that the model does not use."""
    names = view.names
    counts = {kind: len(group) for kind, group in names.companions.items()} | dict(view.set_aside)
    taken = set(entries.values())
    if not any(map(is_average, taken)):
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged)
    else:
        counts[f"{AVERAGE} (not taken)"] = len(names.averaged) - sum(map(is_average, taken))
        counts["plain values of averaged variables"] = sum(name not in taken for name in names.plain - unused)
    counts["logits"] = len(unused)
    return {kind: count for kind, count in counts.items() if count}
