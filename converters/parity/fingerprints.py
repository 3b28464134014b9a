"""The weights of published models, by the checksums that their TF-Hub modules list of them.

`fingerprints.csv` holds shape and masked crc32c of every variable in the checkpoint index of two modules by Google:
mobilenet_v2_100_224 (tf2-preview/mobilenet_v2/feature_vector/4) and mobilenet_v2_140_224 (feature_vector/5). As
feature vector modules, they have no logits. They were exported with the averaged values of the trainable variables and
the plain moving statistics; of models that hold plain values, only the moving statistics can agree.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import numpy as np

import checkpoints
from converters.parity.rows import WeightRow
from converters.weights import is_trainable

TABLE = pathlib.Path(__file__).with_name("fingerprints.csv")
DIFFERS = "not the published checksum"


def published_fingerprints(name: str) -> Mapping[str, str]:
    """Returns ``{slim name: masked crc32c of the float32 values}`` of a published model; empty where none are known."""
    return _table().get(name, {})


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    models: dict[str, dict[str, str]] = {}
    with open(TABLE, encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            models.setdefault(line["model"], {})[line["variable"]] = line["masked_crc32c"]
    return models


def compared_with_published(
    rows: tuple[WeightRow, ...], arrays: Mapping[str, np.ndarray], name: str, averaged: bool
) -> tuple[tuple[WeightRow, ...], tuple[str, ...]]:
    """Returns the rows of a comparison, where values that are not the published ones fail, and notes on them.

    Args:
        rows: of the comparison of ``arrays`` with their source.
        arrays: ``{slim name: array}`` of the model.
        name: the published model that the source is, by its name.
        averaged: whether its trainable variables hold their averaged values. If not, they are not compared.
    """
    checksums = published_fingerprints(name)
    if not checksums:
        return rows, ()
    expected = {key: checksum for key, checksum in checksums.items() if averaged or not is_trainable(key)}
    differing = {key for key in expected.keys() & arrays.keys() if _checksum(arrays[key]) != expected[key]}
    missing = expected.keys() - arrays.keys()
    compared = tuple(
        # A row that failed already says more.
        dataclasses.replace(row, finding=DIFFERS, passed=False) if row.passed and row.name in differing else row
        for row in rows
    )
    known = {row.name for row in rows}
    compared += tuple(WeightRow(key, (), "missing in the model", False) for key in sorted(missing - known))
    kind = "variables" if averaged else "moving statistics"
    notes = [
        f"{len(expected) - len(differing) - len(missing)} of {len(expected)} {kind} have the checksums that the "
        f"published module of {name} lists."
    ]
    if len(differing) + len(missing) == len(expected):
        notes.append(f"For weights of your own in this network, do not give {name} as the name.")
    if not averaged:
        notes.append(
            "The published module holds averaged values; the trainable variables here are plain, and were not "
            "compared with it."
        )
    elif unlisted := [row.name for row in rows if row.name not in checksums]:
        notes.append(f"The published module lists no {', '.join(unlisted)}.")
    return compared, tuple(notes)


def _checksum(array: np.ndarray) -> str:
    # A model in float64 holds the same float32 values.
    return f"0x{checkpoints.masked_crc32c(np.asarray(array, '<f4')):08x}"
