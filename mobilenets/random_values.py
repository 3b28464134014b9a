"""Layers whose weights are set right after they are made: no random values are drawn for them."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import keras
import numpy as np

_VALUES: dict[type[keras.Initializer], Callable[..., np.ndarray]] = {
    keras.initializers.TruncatedNormal: np.zeros,
    keras.initializers.VarianceScaling: np.zeros,
    keras.initializers.Zeros: np.zeros,
    keras.initializers.Ones: np.ones,
}
_ORIGINALS = {kind: kind.__call__ for kind in _VALUES}
_lock = threading.Lock()
_threads: Counter[int] = Counter()


@contextlib.contextmanager
def without_random_values() -> Iterator[None]:
    """Makes random initializers give zeros in this thread.

    JAX compiles a program for every shape of random values, which takes 20 seconds for a network. The initializers of
    the layers stay as they are, also in saved files.
    """
    thread = threading.get_ident()
    with _lock:
        _threads[thread] += 1
        for kind in _VALUES:
            kind.__call__ = _constant
    try:
        yield
    finally:
        with _lock:
            _threads[thread] -= 1
            if not any(_threads.values()):
                _threads.clear()
                for kind, original in _ORIGINALS.items():
                    kind.__call__ = original


def _constant(self: keras.Initializer, shape: tuple[int, ...], dtype: object = None, **options: object) -> object:
    kind = next(kind for kind in _VALUES if isinstance(self, kind))
    if not _threads[threading.get_ident()]:
        return _ORIGINALS[kind](self, shape, dtype, **options)
    # NumPy has no bfloat16; and JAX compiles a program for every shape of a NumPy array whose dtype is not named.
    values = keras.ops.convert_to_tensor(_VALUES[kind](shape, np.float32), "float32")
    return keras.ops.cast(values, keras.backend.standardize_dtype(dtype))
