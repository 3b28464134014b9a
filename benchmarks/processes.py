"""Whole processes: how long one takes from start to exit, and how much memory at most."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

LAUNCHER = pathlib.Path(__file__).with_name("launch.py")


class Run(NamedTuple):
    """Wall time in seconds, processor time over all cores, peak resident memory in bytes, standard output."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    output: str


def run(command: Sequence[str]) -> Run:
    """Runs a command to its end.

    Raises:
        RuntimeError: it failed; the message ends with its standard error.
    """
    launched = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), *command], capture_output=True, text=True, check=True
    )
    measured = json.loads(launched.stdout)
    if status := measured.pop("status"):
        raise RuntimeError(f"{' '.join(command)} failed with status {status}: {launched.stderr.strip()}")
    return Run(**measured)
