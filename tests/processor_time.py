"""Bounds of processor time that hold on a slow or busy machine too: in seconds of a quiet one of 2.5 GHz."""

import contextlib
import time
from collections.abc import Iterator

# What it takes on that machine to count to a million.
COUNT_SECONDS = 0.04


def _count() -> float:
    start = time.process_time()
    for _ in range(10**6):
        pass
    return time.process_time() - start


@contextlib.contextmanager
def processor_time_below(seconds: float) -> Iterator[None]:
    """Fails if the block takes more; counting before and after it shows how slow the machine is."""
    before, start = _count(), time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < seconds * max(before, _count(), COUNT_SECONDS) / COUNT_SECONDS
