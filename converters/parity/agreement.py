"""Comparison with an 8-bit reference: agreement, not parity, because integers round every activation."""

import dataclasses
from collections.abc import Mapping, Sequence

from converters.parity.report import Report
from converters.parity.rows import OutputRow

# At every endpoint, and of the classes where there are enough images to count. Measured on two real files: at least
# 0.992 at every endpoint, and the same class on 14 and 16 of 16 photographs.
LEAST_COSINE = 0.97
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
    judged = tuple(dataclasses.replace(row, bound=float("nan"), passed=_agrees(row)) for row in rows)
    notes = [
        note,
        "The reference computes with 8-bit integers, so this is agreement, not parity: every endpoint needs a cosine "
        f"similarity of at least {LEAST_COSINE:g} with the exact model, and on {TOP1_IMAGES} or more images the same "
        f"highest class on at least {LEAST_TOP1:.0%} of them.",
    ]
    report = Report("outputs", name, reference, judged, None, tuple(notes), len(endpoints), partial, True)
    if not report.enough:
        notes.append("Fewer than half of the model's endpoints were compared; --partial (partial=True) accepts that.")
    return dataclasses.replace(report, notes=tuple(notes))


def _agrees(row: OutputRow) -> bool:
    counts = row.top1_agreement is not None and row.shape[0] >= TOP1_IMAGES
    return row.cosine >= LEAST_COSINE and (not counts or (row.top1_agreement or 0.0) >= LEAST_TOP1)
