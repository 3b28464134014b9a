"""Reads HDF5 files in processes that one process forks: to start Python for each file takes most of the time."""

import multiprocessing
import subprocess
from collections.abc import Sequence

from checkpoints import hdf5

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["checkpoints.hdf5"])


def run(command: Sequence[str], timeout: float, **options: object) -> subprocess.CompletedProcess:
    """Stands in for `subprocess.run` in `checkpoints.hdf5_process`; the command ends with the file and the folder."""
    process = _context.Process(target=hdf5.copy_values, args=command[-2:])
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(command, timeout)
    return subprocess.CompletedProcess(command, process.exitcode, b"", b"")
