"""Reads an HDF5 file in another process, because damaged files crash or hang the HDF5 library."""

import os
import subprocess
import sys
from pathlib import Path

from checkpoints.errors import CheckpointError, reason

SECONDS = 30.0
BYTES_PER_SECOND = 10e6  # of a slow disk: a file may take SECONDS and the time to read it at this rate


def copy_in_process(path: Path, folder: str) -> None:
    """Runs `checkpoints.hdf5.copy_values` in a process of its own.

    Raises:
        CheckpointError: the process crashed, took too long or could not be run.
    """
    # With the same module search path the process imports the same packages.
    program = f"import sys; sys.path[:] = {sys.path!r}; from checkpoints import hdf5; hdf5.copy_values(*sys.argv[1:])"
    command = [sys.executable, "-c", program, os.fspath(path), folder]
    timeout = SECONDS + path.stat().st_size / BYTES_PER_SECOND
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"{path} is damaged: the HDF5 library hangs when it reads the file.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: the process that reads it failed ({reason(error)}).") from error
    if result.returncode == 1:  # the exit status of Python after an exception, here one of an import
        last_line = result.stderr.decode(errors="replace").strip().rpartition("\n")[2].rstrip(".")
        raise CheckpointError(f"{path} cannot be read: the process that reads it failed ({last_line}).")
    if result.returncode:
        raise CheckpointError(f"{path} is damaged: the HDF5 library crashes when it reads the file.")
