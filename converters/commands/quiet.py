"""TensorFlow without its greetings: for programs whose standard error is read by people."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

# What native code says in passing, by how the line begins: absl's information and warnings ("W0000 00:00:17..."),
# those of LiteRT, and a line of MLIR's quantizer. Errors ("E0000", "F0000", "ERROR:") begin otherwise.
CHATTER = r"[IW]\d{4} |INFO: |WARNING: |fully_quantize: "
FILTER = f"""
import re, sys
for line in sys.stdin.buffer:
    if not re.match(rb"{CHATTER}", line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow and lets it log errors only.

    Its native libraries write to file descriptor 2 while they load, before they can be told not to.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with open(os.devnull, "w") as nowhere, _native_stderr_to(nowhere.fileno()):
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Leaves out what native code says in passing on standard error; errors and all other lines come through.

    The lines are sorted by a process of their own, so that the last words of a native crash come through too, and
    native code never waits for a reader that needs Python's lock.
    """
    # A session of its own: an interrupt from the keyboard is not for the filter.
    command = [sys.executable, "-S", "-E", "-c", FILTER]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as lines,
        _native_stderr_to(lines.stdin.fileno()),
    ):
        yield


@contextlib.contextmanager
def lasting_stderr() -> Iterator[TextIO]:
    """Standard error as it is now, for a spinner: it turns on while the process's own leads elsewhere."""
    if sys.stderr is not sys.__stderr__:  # a test, or a caller, has it elsewhere already
        yield sys.stderr
        return
    with os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream


@contextlib.contextmanager
def _native_stderr_to(descriptor: int) -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
