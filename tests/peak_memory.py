"""The memory of a process that a test starts."""

import pathlib


def peak() -> float:
    """Returns the most memory that this process had at a time, in MiB.

    ``ru_maxrss`` would also count the process that started this one, which may be larger, so growth would be hidden.
    """
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
