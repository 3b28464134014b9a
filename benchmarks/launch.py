"""Runs a command and prints its wall time and peak memory as JSON: ``python -I -S launch.py COMMAND ARGUMENT...``.

A process of its own, and a small one: on Linux the peak of a new process begins with that of the process it was
forked from, which would hide the command's own behind that of a benchmark that has TensorFlow in memory.
"""

import json
import os
import subprocess
import sys
import time

start = time.perf_counter()
with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE) as process:
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
# Linux counts in KiB, macOS in bytes.
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
processor_seconds = usage.ru_utime + usage.ru_stime
measured = {"seconds": seconds, "processor_seconds": processor_seconds, "peak_bytes": peak}
print(json.dumps({"status": process.returncode, "output": output, **measured}))
