"""Where the time of a training step goes on the processor, and what of it can be saved."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from benchmarks.results import Result, Row
from benchmarks.savings import SAVINGS
from benchmarks.steps import compiled, fit, stages, training_batch
from benchmarks.subjects import V2_LARGE, V2_SMALL, Work, new_application, new_model
from benchmarks.timing import Schedule, Timing, interleaved

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What is timed in turns: a work, the steps of an epoch of `fit`, the batch size."""

    work: Work
    fit_steps: int
    schedule: Schedule
    batch: int = 32
    savings: Schedule | None = None  # of what can be saved; not measured without it

    def __str__(self) -> str:
        return f"{self.work}, batch {self.batch}"


FULL = (
    Run(V2_SMALL, 10, Schedule(5, 0, 2, 1), savings=Schedule(3, 0, 1, 0)),
    Run(V2_LARGE, 2, Schedule(3, 0, 1, 0), savings=Schedule(3, 0, 1, 0)),
)
QUICK = (Run(V2_SMALL, 3, Schedule(1, 0, 1, 0), batch=8),)

METHOD = (
    "Median time of a step of SGD with momentum, float32, with weight decay. The stages are timed in "
    "separate TensorFlow functions, each with the stages before it, and subtracted. `fit` runs an epoch on one batch "
    "in memory, so its share beyond the whole step is Keras's trainer with its metrics and callbacks. Each change "
    'under "What can be saved" is timed alone, also as steps of `fit`. The datasets run without the autotuner of '
    "tf.data, which can delay the end of an epoch by seconds."
)


def measure(quick: bool) -> Result:
    """V2 0.35 at 96 and 1.0 at 224, or the first alone."""
    rows, parts, saved = [], [], []
    for run in QUICK if quick else FULL:
        log.info("training: %s", run)
        timings = measure_run(run)
        parts.append({"work": str(run)} | shares(timings))
        if run.savings:
            changed = measure_savings(run)
            saved += gains(str(run), changed)
            timings |= {f"fit, {what}": timing for what, timing in changed.items()}
        rows += [{"work": str(run), "what": what} | timing.milliseconds() for what, timing in timings.items()]
    tables = {"Where the time goes": parts, "What can be saved": saved, "All that was timed": rows}
    return Result("training", METHOD, {title: table for title, table in tables.items() if table}, rows)


def measure_run(run: Run) -> dict[str, Timing]:
    """Seconds per step of each stage and of `fit`, and of `fit` with keras.applications' model."""
    keras.backend.clear_session()
    images, labels = map(tf.constant, training_batch(run.batch, run.work.image_size))
    calls = stages(compiled(new_model(run.work)), images, labels)
    calls["fit"] = fit(compiled(new_model(run.work)), images, labels, run.fit_steps)
    peer = compiled(new_application(run.work))
    calls["keras.applications: fit"] = fit(peer, 2 * images - 1, labels, run.fit_steps)
    timings = interleaved(calls, run.schedule)
    return {name: timing.per(run.fit_steps if name.endswith("fit") else 1) for name, timing in timings.items()}


def measure_savings(run: Run) -> dict[str, Timing]:
    """Seconds per step of `fit` for the model as it comes, and with each change."""
    keras.backend.clear_session()
    images, labels = map(tf.constant, training_batch(run.batch, run.work.image_size))
    calls = {name: fit(compiled(make(run.work)), images, labels, run.fit_steps) for name, make in SAVINGS.items()}
    return {name: timing.per(run.fit_steps) for name, timing in interleaved(calls, run.savings).items()}


def gains(work: str, timings: Mapping[str, Timing]) -> list[Row]:
    """A row per change: its time, and how many times as fast it is as the first."""
    first, *_ = timings.values()
    return [
        {"work": work, "change": name, "fit ms": 1e3 * timing.median, "speed": first.median / timing.median}
        for name, timing in timings.items()
    ]


def shares(timings: Mapping[str, Timing]) -> Row:
    """Milliseconds that each stage adds to those before it, and its share of `fit`."""
    ends = [1e3 * timings[stage].median for stage in ("forward, training", "forward and backward", "whole step", "fit")]
    spent = [end - start for start, end in zip([0.0, *ends[:-1]], ends, strict=True)]
    named = dict(zip(("forward ms", "backward ms", "optimizer ms", "Keras ms"), spent, strict=True))
    return named | {"fit ms": ends[-1], "percent": " / ".join(f"{100 * part / ends[-1]:.0f}" for part in spent)}
