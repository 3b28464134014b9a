"""Weights, bit for bit, against a manifest or against a source of slim variables."""

import pathlib
from collections.abc import Iterator, Mapping, Set

import numpy as np

import checkpoints
from converters.averages import Chosen, Sorted, choose, sort_names
from converters.manifest import fingerprints, read_manifest
from converters.names import is_logits, is_trainable
from converters.parity.comparison import Report, WeightRow, compare_weights

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


def verify_variables(name: str, found: Arrays, reference: str | pathlib.Path | Arrays, ema: str) -> Report:
    """Every variable against the averaged or the plain values of a source, or whichever of them ``found`` carries."""
    if isinstance(reference, Mapping):
        reports = list(_reports(name, found, reference, "The mapping", ema))
    else:
        with checkpoints.open_variables(reference) as variables:
            reports = list(_reports(name, found, variables, str(reference), ema))
    best = min(reports, key=lambda report: sum(not row.passed for row in report.rows))
    others = [note for report in reports for note in report.notes if report is not best]
    return Report("weights", name, best.reference, best.rows, notes=(*best.notes, *others))


def _reports(name: str, found: Arrays, variables: Arrays, reference: str, ema: str) -> Iterator[Report]:
    names = sort_names(variables)
    # A model without a head has no use for the reference's logits; anything else that it lacks is a difference.
    headless = not any(map(is_logits, found))
    wanted = {key for key in names.owners() if not (headless and is_logits(key))}
    for policy in (ema,) if ema != "auto" else _possible(wanted, names):
        rows = compare_weights(found, Chosen(variables, choose(wanted, names, policy, reference)))
        trainable = [row for row in rows if is_trainable(row.name)]
        equal = sum(row.passed for row in trainable)
        note = f"{equal} of {len(trainable)} trainable variables equal the {VALUES[policy]} values in {reference}."
        yield Report("weights", name, reference, rows, notes=(note,))


def _possible(wanted: Set[str], names: Sorted) -> list[str]:
    averaged = any(map(is_trainable, wanted & names.averaged))
    return ["always"] * averaged + ["never"] * (wanted <= names.plain or not averaged)
