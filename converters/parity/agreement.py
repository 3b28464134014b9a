"""Comparison with an 8-bit reference: agreement, not parity, because integers round every activation."""

import dataclasses
from collections.abc import Mapping, Sequence

from converters.parity.report import Report
from converters.parity.rows import OutputRow

# At every endpoint but the softmax, and of the classes where there are enough images to count. Measured on three real
# files of Google, photographs and noise: at least 0.9988 (V1), 0.9921 (V2) and 0.9593 (V3 minimalistic), and the same
# class on 14, 16 and 16 of 16 photographs. One layer with a reversed kernel or without biases gives 0.7 or less.
LEAST_COSINE = 0.95
LEAST_TOP1 = 0.8
TOP1_IMAGES = 10


def agreement_report(
    name: str, reference: str, rows: Sequence[OutputRow], note: str, endpoints: Mapping, partial: bool
) -> Report:
    """Judges outputs by cosine similarity and top-1 agreement.

    Args:
        name: of the model.
        reference: what it was compared with.
        rows: from `converters.parity.comparison.compare_outputs`.
        note: on the images.
        endpoints: of the model.
        partial: whether fewer than half of them are enough.
    """
    verdicts = {row.name: _agrees(row) for row in rows}
    for endpoint in verdicts:
        if endpoint.endswith("/Predictions"):
            # The softmax of small differences may be any distance away.
            logits = endpoint.replace("/Predictions", "/Logits")
            verdicts[endpoint] = verdicts.get(logits, verdicts[endpoint])
    judged = tuple(dataclasses.replace(row, bound=float("nan"), passed=verdicts[row.name]) for row in rows)
    notes = [
        note,
        "The reference computes with 8-bit integers, so this is agreement, not parity: every endpoint needs a cosine "
        f"similarity of at least {LEAST_COSINE:g} with the exact model (Predictions follow from Logits), and on "
        f"{TOP1_IMAGES} or more images the same highest class on at least {LEAST_TOP1:.0%} of them.",
    ]
    report = Report("outputs", name, reference, judged, None, tuple(notes), len(endpoints), partial, True)
    if not report.enough:
        notes.append("Fewer than half of the model's endpoints were compared; --partial (partial=True) accepts that.")
    return dataclasses.replace(report, notes=tuple(notes))


def _agrees(row: OutputRow) -> bool:
    counts = row.top1_agreement is not None and row.shape[0] >= TOP1_IMAGES
    return row.cosine >= LEAST_COSINE and (not counts or (row.top1_agreement or 0.0) >= LEAST_TOP1)
