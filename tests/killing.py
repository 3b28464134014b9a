"""Processes that are killed in the middle of their work, at points that a seed chooses.

A point is a call, a line or a return in Python code, counted from the start of the function that works: that reaches
every step between two writes, which no clock can be relied on to meet. The process ends itself by SIGKILL, so that
nothing of it tidies up.
"""

import importlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

ROOT = pathlib.Path(__file__).parents[1]
# Where files are opened, written, moved and removed.
FILE_WORK = ("checkpoints", "converters", "pathlib", "shutil", "tempfile", "json", "filelock")


def kill_at_random_points(
    command: Sequence[str],
    check: Callable[[bool], None],
    times: int,
    *,
    seed: int = 0,
    inside: tuple[str, ...] = FILE_WORK,
    loaded: tuple[str, ...] = (),
    limit: int = 300,
) -> int:
    """Run a command until it was killed so many times.

    Args:
        command: ``module:function``, and the arguments that the function finds in `sys.argv`, as
            ("converters.cli:main", "convert", "net.ckpt", "-o", "net.keras").
        check: Called after every run with whether it was killed. It looks at what the run left, and leaves things as
            they are to be before the next run.
        times: How many runs are to be killed. A run may come to its end before its point, as runs differ a little;
            there are at most twice as many runs.
        seed: Chooses the points.
        inside: Count the points in modules whose names begin so; () for all modules.
        loaded: Modules to import before the points are counted, as imports would be most of them.
        limit: Seconds for one run; whole ones, as a signal ends it.

    Returns:
        The number of points that there are to choose from.
    """
    choose = random.Random(seed)
    with _runs(command, inside, loaded, limit) as run:
        killed, points = run(0)
        assert not killed
        check(False)
        times_killed = 0
        for _ in range(2 * times):
            if times_killed == times:
                return points
            killed, _ = run(choose.randint(1, points))
            times_killed += killed
            check(killed)
    raise AssertionError(f"only {times_killed} of {2 * times} runs were killed.")


def run_whole(command: Sequence[str]) -> None:
    """Runs such a command in a process of its own, to its end."""
    with _runs(command, (), (), 300) as run:
        assert not run(0)[0]


@contextmanager
def _runs(
    command: Sequence[str], inside: tuple[str, ...], loaded: tuple[str, ...], limit: int
) -> Iterator[Callable[[int], tuple[bool, int]]]:
    """Gives a function that runs the command up to a point (0: to its end): whether it was killed, points passed.

    One process imports the modules, and forks for every run: imports would take most of the time.
    """
    arguments = [sys.executable, "-m", "tests.killing", str(limit), ",".join(inside), ",".join(loaded), *command]
    with tempfile.TemporaryFile("w+") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        with subprocess.Popen(arguments, cwd=ROOT, **pipes) as process:

            def run(point: int) -> tuple[bool, int]:
                process.stdin.write(f"{point}\n")
                process.stdin.flush()
                line = process.stdout.readline()
                status, passed = json.loads(line) if line else (None, 0)
                if status not in (0, -signal.SIGKILL):
                    errors.seek(0)
                    raise AssertionError(f"the run ended with {status}: {errors.read()[-2000:]}")
                return status != 0, passed

            yield run


def _main(limit: str, inside: str, loaded: str, target: str, *arguments: str) -> None:
    """Reads a point per line, runs up to it in a process of its own, and prints how that ended and points passed."""
    module, function = target.split(":")
    for name in filter(None, loaded.split(",")):
        importlib.import_module(name)
    work = getattr(importlib.import_module(module), function)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what the command prints
    sys.argv = [function, *arguments]
    names = tuple(filter(None, inside.split(",")))
    for line in iter(sys.stdin.readline, ""):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(int(limit))
            _run(work, names, int(line), writing)
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reading) as passed:
            print(json.dumps([status, int(passed.read() or 0)]), file=answers, flush=True)


def _run(work: Callable[[], None], names: tuple[str, ...], point: int, count: int) -> None:
    """Works, kills the process at the point, and else writes the number of points that it passed, and ends it."""
    passed = 0

    def pass_by(frame, event, argument):
        nonlocal passed
        if names and not frame.f_globals.get("__name__", "").startswith(names):
            return None  # nothing in this call counts
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return pass_by

    status = 0
    sys.settrace(pass_by)
    try:
        work()
    except SystemExit as end:
        status = end.code
    finally:
        sys.settrace(None)
    os.write(count, str(passed).encode())
    sys.exit(status)


if __name__ == "__main__":
    _main(*sys.argv[1:])
