"""Stands in for `subprocess.run` where a program reads a whole file, which cannot crash this process."""

import subprocess
from collections.abc import Callable, Sequence


def running(work: Callable[..., None]) -> Callable[..., subprocess.CompletedProcess]:
    """Gives a function that calls ``work`` with the arguments of a command: Python, ``-c``, a program, arguments."""

    def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess:
        work(*command[3:])
        return subprocess.CompletedProcess(command, 0, b"", b"")

    return run
