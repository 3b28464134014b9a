"""Processes that are killed in the middle of their work, at points that a seed chooses.

A point is a call or a return in Python code, counted from the start of the function that works: that reaches every
step between two writes, which no clock can be relied on to meet. The process ends itself by SIGKILL, so that nothing
of it tidies up.
"""

import contextlib
import importlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

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
    limit: float = 300.0,
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
        limit: Seconds for one run.

    Returns:
        The number of points that there are to choose from.
    """
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        count = pathlib.Path(folder) / "count"

        def run(point: int) -> bool:
            how = [str(count), str(point), ",".join(inside), ",".join(loaded)]
            arguments = [sys.executable, "-m", "tests.killing", *how, *command]
            ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
            assert ended.returncode in (0, -signal.SIGKILL), ended.stderr[-2000:]
            return ended.returncode != 0

        assert not run(0)
        check(False)
        points = int(count.read_text())
        killed = 0
        for _ in range(2 * times):
            if killed == times:
                return points
            was_killed = run(choose.randint(1, points))
            killed += was_killed
            check(was_killed)
    raise AssertionError(f"only {killed} of {2 * times} runs were killed.")


def _main(count: str, point: str, inside: str, loaded: str, target: str, *arguments: str) -> None:
    module, function = target.split(":")
    for name in filter(None, loaded.split(",")):
        importlib.import_module(name)
    work = getattr(importlib.import_module(module), function)
    sys.argv = [function, *arguments]
    names, point, passed = tuple(filter(None, inside.split(","))), int(point), 0

    def pass_by(frame, event, argument):
        nonlocal passed
        if not names or frame.f_globals.get("__name__", "").startswith(names):
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 0
    sys.setprofile(pass_by)
    try:
        work()
    except SystemExit as end:
        status = end.code
    finally:
        sys.setprofile(None)
    with contextlib.suppress(OSError):
        pathlib.Path(count).write_text(str(passed))
    sys.exit(status)


if __name__ == "__main__":
    _main(*sys.argv[1:])
