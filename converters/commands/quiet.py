"""TensorFlow without its greetings: for programs whose standard error is read by people."""

import contextlib
import os
import sys
from collections.abc import Iterator


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow and lets it log errors only.

    Its native libraries write to file descriptor 2 while they load, before they can be told not to.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_native_stderr():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _silent_native_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
