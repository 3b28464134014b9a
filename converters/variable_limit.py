"""A limit of what the variables of new layers take together, checked before memory is allocated for each."""

import contextlib
import math
import numbers
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class VariableLimit:
    """What is left for variables.

    Attributes:
        exceeded: whether a layer asked for more. Keras hides the error of some layers, so look here too.
    """

    def __init__(self, most: int):
        self._left = most
        self.exceeded = False

    def take(self, size: int) -> None:
        """Subtracts the bytes of a new variable.

        Raises:
            ValueError: there are not that many left.
        """
        self._left -= size
        if self._left < 0:
            self.exceeded = True
            raise ValueError("the variables of its layers are larger than the weights in the file")


_original = keras.Layer.add_weight
_lock = threading.Lock()
_limits: dict[int, VariableLimit] = {}  # by thread


@contextlib.contextmanager
def limited_variables(most: int) -> Iterator[VariableLimit]:
    """Lets new layers of this thread make variables of at most so many bytes together.

    Keras builds a layer as soon as it is called, so the sizes are known only while a model is made.
    """
    thread, limit = threading.get_ident(), VariableLimit(most)
    with _lock:
        before = _limits.get(thread)
        _limits[thread] = limit
        keras.Layer.add_weight = _add_weight
    try:
        yield limit
    finally:
        with _lock:
            del _limits[thread]
            if before is not None:
                _limits[thread] = before
            if not _limits:
                keras.Layer.add_weight = _original


def _add_weight(self: keras.Layer, *arguments: Any, **options: Any) -> keras.Variable:
    limit = _limits.get(threading.get_ident())
    if limit is not None:
        arguments_by_name = dict(zip(("shape", "initializer", "dtype"), arguments, strict=False)) | options
        limit.take(_size(arguments_by_name.get("shape"), arguments_by_name.get("dtype") or self.variable_dtype))
    return _original(self, *arguments, **options)


def _size(shape: Any, dtype: Any) -> int:
    lengths = shape if isinstance(shape, (tuple, list)) else (shape,)
    name = keras.backend.standardize_dtype(dtype)
    try:
        item = 2 if name == "bfloat16" else np.dtype(name).itemsize
    except TypeError:  # NumPy has no type of eight bits of a float
        item = 1
    return item * math.prod(int(length) for length in lengths if isinstance(length, numbers.Integral))
