"""Compares weights bit for bit, and the structure around them, with a manifest or a source of slim variables."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Set

import keras
import numpy as np

import checkpoints
from converters.averages import CheckpointNames, choose
from converters.background import DROPPED, lacks_background, shapes_without_background
from converters.errors import ConversionError
from converters.manifest import configured_structure, fingerprints, read_manifest
from converters.parity.comparison import compare_weights
from converters.parity.fingerprints import compared_with_published
from converters.parity.report import Report
from converters.parity.rows import WeightRow
from converters.recognition import Network, recognise
from converters.source_names import NetworkView, network_view
from converters.structure import published_structure, structure, structure_differences
from converters.weights import is_logits, is_trainable
from mobilenets import slim_name

Arrays = Mapping[str, np.ndarray]
SCALING = "scale_last_layer"
VALUES = {"always": "averaged", "never": "plain"}


def verify_manifest(
    name: str, arrays: Arrays, reference: str | pathlib.Path, model: keras.Model | None = None
) -> Report:
    """Compares every variable's shape, type and checksum, and the structure of ``model``, with a manifest."""
    manifest = read_manifest(reference)
    expected, ours = manifest["variables"], fingerprints(arrays)
    rows = tuple(_manifest_row(key, ours.get(key), expected.get(key)) for key in sorted({*ours, *expected}))
    report = Report("weights", name, str(reference), rows)
    return (
        report if model is None else compared_structure(report, model, configured_structure(manifest), "the manifest")
    )


def verify_structure(report: Report, model: keras.Model) -> Report:
    """Adds to a report on weights how the structure of ``model`` compares with the network that they belong to."""
    try:
        expected = published_structure(model)
    except ConversionError as error:
        return dataclasses.replace(report, notes=(*report.notes, f"The structure was not compared: {error}"))
    return compared_structure(report, model, expected, "the network of these weights")


def compared_structure(report: Report, model: keras.Model, expected: Mapping[str, str], whose: str) -> Report:
    """Adds a row for each layer of ``model`` that differs from ``expected``, the structure of ``whose``."""
    differing = structure_differences(structure(model), expected)
    rows = tuple(WeightRow(f"layer {slim_name(layer)}", (), text, False) for layer, text in differing.items())
    note = (
        f"{len(differing)} of {len(expected)} layers differ from {whose}."
        if differing
        else f"The structure ({len(expected)} layers) is that of {whose}."
    )
    return dataclasses.replace(report, rows=(*report.rows, *rows), notes=(*report.notes, note))


def _manifest_row(name: str, arrays: Mapping | None, expected: Mapping | None) -> WeightRow:
    shape = tuple((expected or arrays or {})["shape"])
    if arrays is None or expected is None:
        return WeightRow(name, shape, f"missing in the {'model' if arrays is None else 'reference'}", False)
    differing = [key for key in expected if arrays.get(key) != expected[key]]
    return WeightRow(name, shape, f"{', '.join(differing)} differ" if differing else "equal", not differing)


def verify_variables(
    name: str,
    arrays: Arrays,
    variables: Arrays,
    reference: str,
    ema: str,
    published: str | None = None,
    scope: str | None = None,
) -> Report:
    """Every variable against the averaged or the plain values of a source, or whichever of them ``arrays`` carries.

    Args:
        name: what to call the model.
        arrays: ``{slim name: array}`` of the model.
        variables: what the source holds.
        reference: what to call the source.
        ema: "always", "never" or "auto", as `converters.verify` takes it.
        published: the published model that the source is: its known checksums are compared too.
        scope: the scope of the network in the source; None where it has only one network.
    """
    view = network_view(checkpoints.open_variables(variables), reference, scope)
    return _compared_view(name, arrays, view, reference, ema, published)


def _compared_view(
    name: str, arrays: Arrays, view: NetworkView, reference: str, ema: str, published: str | None
) -> Report:
    reports = dict(_reports(name, arrays, view, reference, ema))
    policy, best = min(reports.items(), key=lambda item: sum(not row.passed for row in item[1].rows))
    others = [note for report in reports.values() for note in report.notes if report is not best]
    rows, notes = best.weight_rows, _different_networks(arrays, view.network)
    shapes = view.shapes
    if any(is_logits(key) and lacks_background(array.shape, shapes.get(key)) for key, array in arrays.items()):
        notes = (*notes, DROPPED)
    if published is not None:
        rows, more = compared_with_published(rows, arrays, published, policy == "always")
        notes += more
    return Report("weights", name, reference, rows, notes=(*best.notes, *others, *notes))


def _different_networks(arrays: Arrays, theirs: Network) -> tuple[str, ...]:
    """Returns a note where the two sides are of another family or multiplier."""
    try:
        ours = recognise(checkpoints.open_variables(arrays).shapes, "")
    except ConversionError:
        return ()
    ours_text, theirs_text = (
        " ".join([side.family, *_variant(side), f"{side.depth_multiplier:g}"]) for side in (ours, theirs)
    )
    if ours_text == theirs_text:
        return ()
    return (f"These are different networks: the model is {ours_text}, the reference {theirs_text}.",)


def _variant(network: Network) -> list[str]:
    """Returns the options of a network in words."""
    return [name if value is True else value for name, value in network.options.items() if value and name != SCALING]


def verify_saved(
    name: str,
    arrays: Arrays,
    variables: Arrays,
    source: str,
    averaged: bool,
    published: str | None,
    scope: str | None,
    background_dropped: bool = False,
) -> Report:
    """Compares the weights of a converted model, saved and loaded again, with the source of the conversion.

    Args:
        name: what to call the model.
        arrays: ``{slim name: array}`` of the loaded model.
        variables: what the source holds.
        source: what to call the source.
        averaged: whether the conversion took averaged values.
        published: the published model that the source is: its known checksums are compared too.
        scope: the scope of the network in the source.
        background_dropped: whether class 0 of the source was left out.
    """
    view = network_view(checkpoints.open_variables(variables), source, scope)
    shapes = shapes_without_background(view.shapes) if background_dropped else view.shapes
    new = [key for key, array in arrays.items() if is_logits(key) and shapes.get(key) != array.shape]
    taken = {key: array for key, array in arrays.items() if key not in new}
    report = _compared_view(name, taken, view, source, "always" if averaged else "never", published)
    if new:
        note = f"The classification layer is new, and was not compared: {', '.join(new)}."
        report = dataclasses.replace(report, notes=(*report.notes, note))
    return report


def _reports(name: str, arrays: Arrays, view: NetworkView, reference: str, ema: str) -> Iterator[tuple[str, Report]]:
    """Yields a report for each policy that may be what the model was made by."""
    names = view.names
    # A model without a head has no use for the reference's logits; anything else that it lacks is a difference.
    headless = not any(map(is_logits, arrays))
    needed = {key for key in names.owners() if not (headless and is_logits(key))}
    for policy in (ema,) if ema != "auto" else _possible(needed, names):
        rows = compare_weights(arrays, view.variables.renamed(choose(needed, names, policy, reference)))
        trainable = [row for row in rows if is_trainable(row.name)]
        equal = sum(row.passed for row in trainable)
        note = f"{equal} of {len(trainable)} trainable variables equal the {VALUES[policy]} values in {reference}."
        yield policy, Report("weights", name, reference, rows, notes=(note,))


def _possible(needed: Set[str], names: CheckpointNames) -> list[str]:
    averaged = any(map(is_trainable, needed & names.averaged))
    return ["always"] * averaged + ["never"] * (needed <= names.plain or not averaged)
