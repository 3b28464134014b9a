"""The memory of this process, in MiB.

``ru_maxrss`` would also count the process that started this one, which may be larger, so growth would be hidden.
"""

import pathlib


def peak() -> float:
    """Returns the most memory that this process had at a time."""
    return _field("VmHWM")


def resident() -> float:
    """Returns the memory that this process has now."""
    return _field("VmRSS")


def _field(name: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
