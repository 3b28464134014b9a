"""Time and memory to verify every published model against its original graph, endpoint by endpoint."""

import json
import logging
import pathlib
import sys
import tempfile

import mobilenets
from benchmarks.processes import run
from benchmarks.results import Result, Target

log = logging.getLogger(__name__)

METHOD = (
    "`converters.verify` of every published model at batch 2, in float32, with the slim graph frozen with made-up "
    "weights, one after another in one process, whose peak memory is measured. The models are converted from the same "
    "frozen graphs; another process makes the graphs first."
)
QUICK = ("mobilenet_v2_035_96", "mobilenet_v1_025_128")


def measure(quick: bool) -> Result:
    """All published models, or two small ones."""
    names = QUICK if quick else mobilenets.list_models()
    with tempfile.TemporaryDirectory() as folder:
        log.info("verification: freezing %d slim graphs", len(names))
        run([sys.executable, "-m", "benchmarks.verify_all", "freeze", folder, *names])
        log.info("verification: verifying them")
        measured = run([sys.executable, "-m", "benchmarks.verify_all", "verify", folder, *names])
    rows = [json.loads(line) for line in measured.output.splitlines() if line.startswith("{")]
    failed = [row["model"] for row in rows if not row["passed"]]
    if failed or len(rows) != len(names):
        raise ArithmeticError(f"{len(rows)} of {len(names)} models were verified, and these failed: {failed}.")
    total = {
        "models": len(rows),
        "verify s": sum(row["verify s"] for row in rows),
        "convert s": sum(row["convert s"] for row in rows),
        "whole process s": measured.seconds,
        "peak GiB": measured.peak_bytes / 2**30,
        "largest difference": f"{max(row['largest difference'] for row in rows):.1e}",
    }
    targets = [
        Target("verify of all models at batch 2", total["verify s"] / 60, 5.0, "min"),
        Target("the same, peak memory of the process", total["peak GiB"], 3.0, "GiB"),
    ]
    return Result("verification", METHOD, {"Verification": [total]}, rows, () if quick else targets)


def graph_path(folder: str, name: str) -> pathlib.Path:
    """Where a model's frozen graph lies."""
    return pathlib.Path(folder, f"{name}.pb")
