"""Times callables in turns, A B C, A B C, so that a busy moment of the machine hits them all."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds per call over all rounds, and the number of calls."""

    median: float
    minimum: float
    lower_quartile: float
    upper_quartile: float
    calls: int

    def per(self, parts: int) -> "Timing":
        """The same for one of the equal parts that a call consists of."""
        return Timing(*(seconds / parts for seconds in self[:4]), self.calls)

    def milliseconds(self) -> dict[str, float]:
        """For a report: column -> value."""
        named = dict(zip(("median ms", "min ms", "q1 ms", "q3 ms"), self[:4], strict=True))
        return {column: 1e3 * seconds for column, seconds in named.items()} | {"calls": self.calls}


class Schedule(NamedTuple):
    """How long to measure: ``rounds`` turns of each contender, each of a number of calls or seconds, whichever is more.

    Before its timed calls in a turn, a contender is called ``untimed`` times after a ``pause`` in seconds: threads of
    the one before, which runtimes let spin for some milliseconds in wait for more work, are asleep by then, and the
    caches hold the contender's own weights again.
    """

    rounds: int
    turn_seconds: float = 0.3
    turn_calls: int = 3
    untimed: int = 2
    pause: float = 0.05


def summarise(samples: Sequence[float]) -> Timing:
    """Median, minimum and quartiles of at least one sample."""
    if not samples:
        raise ValueError("There is no sample to summarise.")
    quartiles = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
    return Timing(quartiles[1], min(samples), quartiles[0], quartiles[2], len(samples))


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    schedule: Schedule,
    prepare: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Timing]:
    """Times every contender in every round, each round beginning with another one.

    Args:
        contenders: name -> what to time. A call must return only when the work is done.
        schedule: how often.
        prepare: called before every call, outside the time.
        clock: seconds; a test has its own.
        sleep: waits so many seconds; likewise.

    Returns:
        name -> seconds per call, in the order given.
    """
    samples = {name: [] for name in contenders}
    for call in contenders.values():
        prepare()
        call()  # traces, compiles, allocates
    names = list(contenders)
    for turn in range(schedule.rounds):
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            sleep(schedule.pause)
            samples[name] += _turn(contenders[name], schedule, prepare, clock)
    return {name: summarise(seconds) for name, seconds in samples.items()}


def _turn(call, schedule: Schedule, prepare, clock) -> list[float]:
    for _ in range(schedule.untimed):
        prepare()
        call()
    samples, total = [], 0.0
    while len(samples) < schedule.turn_calls or total < schedule.turn_seconds:
        prepare()
        start = clock()
        call()
        samples.append(clock() - start)
        total += samples[-1]
    return samples
