"""Weights, bit for bit, against a manifest or against a source of slim variables."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Set

import numpy as np

import checkpoints
from converters.averages import Chosen, Sorted, choose, sort_names
from converters.manifest import fingerprints, read_manifest
from converters.names import is_logits, is_trainable
from converters.parity.comparison import Report, WeightRow, compare_weights
from converters.parity.published import held_against_published

Arrays = Mapping[str, np.ndarray]
VALUES = {"always": "averaged", "never": "plain"}


def verify_manifest(name: str, found: Arrays, reference: str | pathlib.Path) -> Report:
    """Every variable's shape, type and checksum against those that the manifest lists."""
    expected, found = read_manifest(reference)["variables"], fingerprints(found)
    rows = (_manifest_row(key, found.get(key), expected.get(key)) for key in sorted({*found, *expected}))
    return Report("weights", name, str(reference), tuple(rows))


def _manifest_row(name: str, found: Mapping | None, expected: Mapping | None) -> WeightRow:
    shape = tuple((expected or found)["shape"])
    if found is None or expected is None:
        return WeightRow(name, shape, f"missing in the {'model' if found is None else 'reference'}", False)
    differing = [key for key in expected if found.get(key) != expected[key]]
    return WeightRow(name, shape, f"{', '.join(differing)} differ" if differing else "equal", not differing)


def verify_variables(
    name: str, found: Arrays, variables: Arrays, reference: str, ema: str, published: str | None = None
) -> Report:
    """Every variable against the averaged or the plain values of a source, or whichever of them ``found`` carries.

    Args:
        name: what to call the model.
        found: ``{slim name: array}`` of the model.
        variables: what the source holds.
        reference: what to call the source.
        ema: "always", "never" or "auto", as `converters.verify` takes it.
        published: the published model that the source is: its known checksums are compared too.
    """
    reports = dict(_reports(name, found, variables, reference, ema))
    policy, best = min(reports.items(), key=lambda item: sum(not row.passed for row in item[1].rows))
    others = [note for report in reports.values() for note in report.notes if report is not best]
    rows, notes = best.rows, ()
    if published is not None:
        rows, notes = held_against_published(rows, found, published, policy == "always")
    return Report("weights", name, reference, rows, notes=(*best.notes, *others, *notes))


def verify_saved(
    name: str, found: Arrays, source: str | pathlib.Path, averaged: bool, published: str | None = None
) -> Report:
    """The weights of a converted model that was saved and loaded again against the source of the conversion.

    Args:
        name: what to call the model.
        found: ``{slim name: array}`` of the model.
        source: what was converted.
        averaged: whether the conversion took averaged values.
        published: the published model that the source is: its known checksums are compared too.
    """
    with checkpoints.open_variables(source) as variables:
        shapes = Chosen(variables, sort_names(variables).owners()).shapes
        new = [key for key, array in found.items() if is_logits(key) and shapes.get(key) != array.shape]
        taken = {key: array for key, array in found.items() if key not in new}
        report = verify_variables(name, taken, variables, str(source), "always" if averaged else "never", published)
    if new:
        note = f"The classification layer is new, and was not compared: {', '.join(new)}."
        report = dataclasses.replace(report, notes=(*report.notes, note))
    return report


def _reports(name: str, found: Arrays, variables: Arrays, reference: str, ema: str) -> Iterator[tuple[str, Report]]:
    """A report for each policy that may be what the model was made by."""
    names = sort_names(variables)
    # A model without a head has no use for the reference's logits; anything else that it lacks is a difference.
    headless = not any(map(is_logits, found))
    wanted = {key for key in names.owners() if not (headless and is_logits(key))}
    for policy in (ema,) if ema != "auto" else _possible(wanted, names):
        rows = compare_weights(found, Chosen(variables, choose(wanted, names, policy, reference)))
        trainable = [row for row in rows if is_trainable(row.name)]
        equal = sum(row.passed for row in trainable)
        note = f"{equal} of {len(trainable)} trainable variables equal the {VALUES[policy]} values in {reference}."
        yield policy, Report("weights", name, reference, rows, notes=(note,))


def _possible(wanted: Set[str], names: Sorted) -> list[str]:
    averaged = any(map(is_trainable, wanted & names.averaged))
    return ["always"] * averaged + ["never"] * (wanted <= names.plain or not averaged)
