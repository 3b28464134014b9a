"""What programs say on standard error: native code's chatter is left out, its errors are not."""

import subprocess
import sys

CHATTER = [
    "W0000 00:00:1795262228.190967   12977 tf_tfl_flatbuffer_helpers.cc:365] Ignored output_format.",
    "I0000 00:00:1795262228.190967   12977 mlir_graph_optimization_pass.cc:437] not enabled",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "fully_quantize: 0, inference_type: 6, input_inference_type: FLOAT32, output_inference_type: FLOAT32",
]
ERRORS = [
    "E0000 00:00:1795262228.190967   12977 cuda_platform.cc:52] failed",
    "F0000 00:00:1795262228.190967   12977 check.cc:1] Check failed",
    "ERROR: Didn't find op",
    "anything else",
]
PROGRAM = """
import os, sys
from converters.commands.quiet import without_chatter

def native(*lines):
    os.write(2, "".join(line + "\\n" for line in lines).encode())

native("before")
with without_chatter():
    native(*sys.argv[2:])
    print("from Python", file=sys.stderr)
    exec(sys.argv[1])
native("after")
"""


def run(action):
    command = [sys.executable, "-c", PROGRAM, action, *CHATTER, *ERRORS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not result.stdout
    return result.returncode, result.stderr.splitlines()


def test_errors_come_through_and_chatter_does_not():
    assert run("") == (0, ["before", *ERRORS, "from Python", "after"])


def test_the_last_words_of_a_crash_come_through():
    status, lines = run("native('Aborting'); os.abort()")
    assert status != 0
    assert lines[: len(ERRORS) + 3] == ["before", *ERRORS, "from Python", "Aborting"]


def test_an_exception_is_told_and_standard_error_is_as_before():
    status, lines = run("raise ValueError('no model')")
    assert status == 1 and lines[-1] == "ValueError: no model"


def test_more_than_a_pipe_holds():
    status, lines = run("native(*['line'] * 100_000)")
    assert (status, lines.count("line"), lines[-1]) == (0, 100_000, "after")
