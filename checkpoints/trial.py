"""HDF5 files are read through in a process of their own first, because damaged ones crash or hang the HDF5 library.

The process is started for the first file, serves all that follow, and ends with this one.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from checkpoints.errors import CheckpointError

SECONDS = 30.0  # for a file, and as many more as it would take at a slow disk's pace
BYTES_PER_SECOND = 10e6

_lock = threading.Lock()
_servers: dict[int, subprocess.Popen] = {}  # by the process that started it: a forked one needs its own


def try_out(path: Path) -> None:
    """Let the other process read a file through; an ordinary error there is no matter, it will come here too.

    Raises:
        CheckpointError: The process died of the file, or did not come to an end.
    """
    with _lock:
        server = _servers.get(os.getpid())
        if server is None or server.poll() is not None:  # one that ended between two files did not end because of them
            server = _start(path)
        limit = threading.Timer(SECONDS + path.stat().st_size / BYTES_PER_SECOND, server.kill)
        limit.start()
        try:
            server.stdin.write(json.dumps(os.path.abspath(path)) + "\n")
            server.stdin.flush()
            answer = server.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            limit.cancel()
        if not answer:
            _stop()
            raise CheckpointError(f"{path} is damaged: the HDF5 library crashes or hangs when it reads the file.")


def serve(read_through: Callable[[str], None]) -> None:
    """Read through each file whose path comes as a line of standard input, and answer with a line."""

    def answer() -> None:
        sys.stdout.write("\n")
        sys.stdout.flush()

    answer()  # ready
    for line in sys.stdin:
        with contextlib.suppress(Exception):
            read_through(json.loads(line))
        answer()


def _start(path: Path) -> subprocess.Popen:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from checkpoints import hdf5, trial; trial.serve(hdf5.read_through)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _servers[os.getpid()] = server
    if not server.stdout.readline():
        _stop()
        raise CheckpointError(f"{path} cannot be read, because no process starts in which to try it out first.")
    return server


@atexit.register
def _stop() -> None:
    server = _servers.pop(os.getpid(), None)
    if server:
        server.kill()
        server.communicate()
