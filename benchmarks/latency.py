"""Time for a batch of images, from the NumPy batch to the NumPy logits, of every contender on every work."""

import functools
import logging
import math
import pathlib
import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from benchmarks.machine import cores
from benchmarks.peers import APPLICATION, CONTENDERS, OURS, Contender
from benchmarks.results import Result, Row, Target, markdown_table, pivot
from benchmarks.subjects import INCEPTION, V1, V2_LARGE, V2_SMALL, V3_LARGE, V3_SMALL, Subject
from benchmarks.timing import Schedule, interleaved

log = logging.getLogger(__name__)

FULL = (V2_LARGE, V2_SMALL, V3_LARGE, V3_SMALL, V1, INCEPTION)
QUICK = (V2_SMALL,)
# These take long to compile, export or run.
NOT_QUICK = (
    f"{OURS}: fused, tf.function with XLA",
    f"{APPLICATION}: Keras predict",
    f"{APPLICATION}: ONNX Runtime",
    f"{APPLICATION}: OpenVINO",
)
BATCHES = (1, 32)

# Of the largest logit. Runtimes sum in other orders, and ReLU6 and fifty layers amplify it; a wrong graph is off by 1.
TOLERANCE = 1e-3

METHOD = (
    "Median time from a NumPy batch to NumPy logits. All contenders of a work and batch are timed in turns within one "
    "process, on the same images, {cores} threads each, in float32; ours also rescale the images, the others get them "
    "rescaled. Before it is timed, each contender's logits are compared with those of its Keras model (transformers "
    "has none with the same weights)."
)


def measure(quick: bool) -> Result:
    """All works at both batch sizes, or the cheapest work."""
    schedule = Schedule(2, 0.1, untimed=1) if quick else Schedule(8, 0.4)
    left_out = {contender.name: why for contender in CONTENDERS if (why := contender.missing())}
    left_out |= {name: "not in a quick run" for name in NOT_QUICK if quick}
    contenders = [contender for contender in CONTENDERS if contender.name not in left_out]
    rows = []
    for work in QUICK if quick else FULL:
        keras.backend.clear_session()
        with tempfile.TemporaryDirectory() as folder:
            subject = Subject(work, pathlib.Path(folder))
            for batch in BATCHES:
                log.info("latency: %s, batch %d", work, batch)
                rows += measure_batch(subject, batch, schedule, contenders)
    method = METHOD.format(cores=cores())
    if quick:
        return Result("latency", method, tables(rows), rows, left_out=left_out)
    return Result("latency", method, tables(rows), rows, targets(rows), left_out, headline=headline(rows))


def measure_batch(subject: Subject, batch: int, schedule: Schedule, contenders: Sequence[Contender]) -> list[Row]:
    """A row per contender that takes this work and batch."""
    images = subject.images(batch)
    calls, differences = {}, {}
    for contender in contenders:
        if not contender.takes(subject.work, batch):
            continue
        fed = 2 * images - 1 if contender.signed else images
        predict = contender.make(subject, fed)
        differences[contender.name] = check(contender.name, predict(fed), contender.expected(subject, images))
        calls[contender.name] = functools.partial(predict, fed)
    work = str(subject.work)
    return [
        {"work": work, "batch": batch, "contender": name}
        | timing.milliseconds()
        | {"median ms per image": 1e3 * timing.median / batch, "difference": differences[name]}
        for name, timing in interleaved(calls, schedule).items()
    ]


def check(name: str, found: np.ndarray, expected: np.ndarray | None) -> float | None:
    """The largest difference to the expected logits, relative to the largest of them.

    Raises:
        ArithmeticError: it is beyond the tolerance, so that this contender does not do the work.
    """
    if expected is None:
        return None
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{name} differs from its Keras model by {difference:.1e} of the largest logit.")
    return difference


def tables(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """A table per batch size: contenders down, works across."""
    batches = dict.fromkeys(row["batch"] for row in rows)
    return {
        f"Batch {batch}: ms per image": pivot(
            [row for row in rows if row["batch"] == batch], "contender", "work", "median ms per image"
        )
        for batch in batches
    }


def headline(rows: Sequence[Row]) -> str:
    """The one table for who only wants to know what to use: V2 1.0 at 224, the fastest for a batch of 32 first."""
    columns = {batch: f"ms per image, {batch} at a time" for batch in BATCHES}
    chosen = [row | {"column": columns[row["batch"]]} for row in rows if row["work"] == str(V2_LARGE)]
    table = pivot(chosen, "contender", "column", "median ms per image")
    table.sort(key=lambda row: math.inf if row[columns[32]] is None else row[columns[32]])
    return f"{V2_LARGE}, {cores()} cores, from NumPy array to NumPy array:\n\n{markdown_table(table)}"


# A tf.function of the fused model, whose weights are constants in it.
FUSED = f"{OURS}: inference_function"

# What is compared, whose median is divided by whose, at which batch, and the bound that the ratio is to keep.
TARGETS = (
    ("inference_function: speed against", f"{APPLICATION}: tf.function", FUSED, 32, 1.7),
    ("inference_function: speed against", f"{APPLICATION}: tf.function", FUSED, 1, 1.6),
    *(
        ("inference_function: time against", FUSED, f"{network}: {runtime}", 32, 1.15)
        for runtime in ("OpenVINO", "LiteRT")
        for network in (APPLICATION, OURS)
    ),
    *(
        ("our LiteRT export: time against", f"{OURS}: LiteRT", peer, 1, 1.05)
        for peer in (
            f"{APPLICATION}: LiteRT",
            *(f"{network}: {runtime}" for runtime in ("ONNX Runtime", "OpenVINO") for network in (APPLICATION, OURS)),
        )
    ),
)


def targets(rows: Sequence[Row]) -> list[Target]:
    """Ratios of medians on MobileNet V2 1.0 at 224, for the contenders that took part."""
    medians = {(row["contender"], row["batch"]): row["median ms"] for row in rows if row["work"] == str(V2_LARGE)}
    found = []
    for what, over, under, batch, bound in TARGETS:
        if {(over, batch), (under, batch)} <= medians.keys():
            speed = "speed" in what
            peer = over if speed else under
            ratio = medians[over, batch] / medians[under, batch]
            found.append(Target(f"{what} {peer}, batch {batch}", ratio, bound, at_least=speed))
    return found
