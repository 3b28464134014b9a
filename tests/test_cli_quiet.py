"""Standard error of native code: shown if the block fails, and only then."""

import subprocess
import sys

import pytest

NATIVE = [
    "W0000 00:00:1795262228.190967   12977 tf_tfl_flatbuffer_helpers.cc:365] Ignored output_format.",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "ERROR: Didn't find op",
]
PROGRAM = """
import os, sys
from converters.commands.quiet import native_stderr_if_it_fails

def native(*lines):
    os.write(2, "".join(line + "\\n" for line in lines).encode())

native("before")
with native_stderr_if_it_fails():
    native(*sys.argv[2:])
    print("from Python", file=sys.stderr)
    exec(sys.argv[1])
native("after")
"""


def run(action):
    command = [sys.executable, "-c", PROGRAM, action, *NATIVE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not result.stdout
    return result.returncode, result.stderr.splitlines()


def test_native_words_are_left_out_if_nothing_fails():
    assert run("") == (0, ["before", "from Python", "after"])


@pytest.mark.parametrize("action", ["raise ValueError('no model')", "sys.exit('no model')", "raise KeyboardInterrupt"])
def test_native_words_are_shown_if_the_block_fails(action):
    status, lines = run(action)
    assert status != 0
    assert lines[: len(NATIVE) + 2] == ["before", "from Python", *NATIVE]
    assert "no model" in lines[-1] or "KeyboardInterrupt" in lines[-1]


def test_a_native_crash_shows_where_the_program_was():
    status, lines = run("os.abort()")
    assert status != 0
    assert "Fatal Python error: Aborted" in lines
    assert any("in <module>" in line for line in lines)


def test_many_lines_do_not_block():
    status, lines = run("native(*['line'] * 100_000); raise ValueError('no model')")
    assert (status, lines.count("line"), lines[-1]) == (1, 100_000, "ValueError: no model")
