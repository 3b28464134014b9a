"""Images decoded and prepared in threads, some ahead of the network, with the same pixels on every backend."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

import mobilenets
from converters.images.headers import Row, upright
from converters.images.photographs import decode


def prepared(
    rows: list[Row], size: tuple[int, int], batch_size: int, channels: int, parallel: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of (numbers of the rows, images); rows that cannot be read are left out."""

    def load(row: Row) -> np.ndarray | None:
        try:
            return mobilenets.preprocess(upright(decode(row.path, channels, row.header), row.orientation), size)
        except (ValueError, OSError):
            return None

    numbers: list[int] = []
    images: list[np.ndarray] = []
    for row, image in _ahead(load, rows, batch_size, parallel):
        if image is not None:
            numbers.append(row.number)
            images.append(image)
        if len(images) == batch_size:
            yield np.array(numbers), np.stack(images)
            numbers, images = [], []
    if images:
        yield np.array(numbers), np.stack(images)


def _ahead(load, rows: list[Row], count: int, threads: int) -> Iterator[tuple[Row, np.ndarray | None]]:
    """Yields each row with its image, in order; at most ``count`` images are loaded in advance."""
    pool = ThreadPoolExecutor(threads)
    pending: deque[tuple[Row, Future]] = deque()
    try:
        for row in rows:
            pending.append((row, pool.submit(load, row)))
            if len(pending) > count:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
