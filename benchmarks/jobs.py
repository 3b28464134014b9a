"""``mobilenets embed`` and ``predict`` as whole processes, next to what a user would write, and to the limit."""

import importlib.util
import logging
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras

import converters
from benchmarks.job_programs import DECODE, LIMITS, NETWORK, PEERS
from benchmarks.pictures import LARGE, SMALL, write_pictures
from benchmarks.processes import Run, run
from benchmarks.results import Result, Row, Target
from benchmarks.subjects import V2_LARGE, V2_SMALL, Work, new_model, set_made_up_weights
from converters.runtimes.table import RUNTIMES

log = logging.getLogger(__name__)

METHOD = (
    "Images a second of whole processes, from start to exit, in turns; medians (Beam: one run). The pictures are made, "
    "photograph-like JPEG files of 500 x 375 (and 4000 x 3000), in the page cache. Cold: with an empty cache folder: "
    "the network is converted and compared first. Warm: the network is in the cache. The limit is a process that "
    "only reads and prepares, plus the time of the network alone on images in memory, on all cores. The peers resize "
    "the whole picture by their own filters, so their features are not the same."
)
PYTHON = (sys.executable, "-c")
PROGRAM = (*PYTHON, "from converters.cli import main; main()")
BARE = "python -c 'import tensorflow'"
FIRST, SECOND = "predict, first time", "predict, second time"
MIB = 2**20
# An environment variable: the checkout of an earlier commit, whose `embed` is measured too.
BASELINE, EARLIER = "BASELINE", "embed of the earlier commit"


class Size(NamedTuple):
    """How much is measured."""

    works: tuple[Work, ...]
    pictures: int
    large: int
    turns: int


FULL = Size((V2_LARGE, V2_SMALL), 1000, 1000, 3)
QUICK = Size((V2_SMALL,), 20, 2, 1)


def measure(quick: bool) -> Result:
    """`embed` of each work by each runtime and by the peers; `predict` of one picture; memory with large pictures."""
    size = QUICK if quick else FULL
    left_out = absent(quick)
    tables: dict[str, Sequence[Row]] = {}
    rows: list[Row] = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pictures = write_pictures(folder / "small", SMALL, size.pictures)
        for work in size.works:
            log.info("jobs: %s", work)
            models = write_models(work, folder / f"models {work}", left_out)
            found = measure_work(work, models, pictures, size, left_out)
            rows += found
            tables[f"{work}, {size.pictures} pictures of 500 x 375"] = found
            targets += targets_of(work, found)
        log.info("jobs: large pictures and predict")
        large = write_pictures(folder / "large", LARGE, size.large)
        one = run(embed(models, large, folder / "cache", "auto"))
        single = predict_rows(models, pictures / "00000.jpg", folder, size.turns)
    memory = [row_of("embed, pictures of 4000 x 3000", [one], size.large)]
    tables |= {"Large pictures": memory, "One picture": single}
    seconds = {row["process"]: row["median s"] for row in single}
    targets += [
        Target("embed of 4000 x 3000: peak memory", one.peak_bytes / 2**30, 1.5, "GiB"),
        Target("predict, second time: time against import tensorflow", seconds[SECOND] / seconds[BARE], 0.5),
    ]
    return Result("jobs", METHOD, tables, [*rows, *memory, *single], [] if quick else targets, left_out)


def absent(quick: bool) -> dict[str, str]:
    """What is not measured, and why."""
    needs = {name: packages for name, (_, packages) in PEERS.items()}
    needs |= {f"embed --runtime {name}": (*row.packages, *row.writers) for name, row in RUNTIMES.items()}
    needs["Beam"] = ("apache_beam",)
    lacking = {
        name: [package for package in packages if importlib.util.find_spec(package) is None]
        for name, packages in needs.items()
    }
    found = {name: f"not installed: {', '.join(packages)}" for name, packages in lacking.items() if packages}
    slow = ["Beam", *(f"embed --runtime {name}" for name in ("tensorflow", *list(RUNTIMES)[1:]))]
    return {**dict.fromkeys(slow, "not in a quick run"), **found} if quick else found


def write_models(work: Work, folder: pathlib.Path, left_out) -> pathlib.Path:
    """The model in all the formats that somebody needs."""
    folder.mkdir()
    keras.backend.clear_session()
    model = set_made_up_weights(new_model(work))
    model.save(folder / "model.keras")
    features = set_made_up_weights(new_model(work, head="feature_vector"))
    if "ONNX Runtime, Pillow" not in left_out:
        converters.export(features, folder / "model.onnx", "onnx")
    if "hub.KerasLayer, tf_keras" not in left_out:
        converters.export_hub(features, folder / "module")
    return folder


def embed(models: pathlib.Path, pictures: pathlib.Path, cache: pathlib.Path, runtime: str | None) -> list[str]:
    """The command of a run that writes a new file; without a runtime, of the checkout in ``BASELINE``."""
    setting = f"import os, sys; os.environ['MOBILENETS_CACHE'] = {str(cache)!r}; "
    if runtime is None:
        setting += f"sys.path.insert(0, {os.environ[BASELINE]!r}); "
    output = ["-o", str(models / "features.npz"), "--force"]
    # Another list of the same pictures would be the same job, whose result exists.
    (models / "features.npz").unlink(missing_ok=True)
    model = str(models / "model.keras")
    return [
        *PYTHON,
        setting + PROGRAM[-1],
        "embed",
        model,
        str(pictures),
        *output,
        *(["--runtime", runtime] if runtime else []),
    ]


def measure_work(work: Work, models: pathlib.Path, pictures: pathlib.Path, size: Size, left_out) -> list[Row]:
    """A row per process."""
    arguments = [str(pictures), str(work.image_size), str(work.depth_multiplier), str(models)]
    program = [sys.executable, "-m", "benchmarks.job_programs"]
    caches = models / "caches"
    processes: dict[str, Callable[[int], list[str]]] = {
        "embed, cold": lambda turn: embed(models, pictures, caches / f"cold {turn}", "auto")
    }
    for runtime in ("auto", "keras", "tensorflow", *RUNTIMES):
        if f"embed --runtime {runtime}" not in left_out:
            processes[f"embed --runtime {runtime}, warm"] = lambda turn, runtime=runtime: embed(
                models, pictures, caches / runtime, runtime
            )
    if BASELINE in os.environ:
        processes[EARLIER] = lambda turn: embed(models, pictures, caches / "earlier", None)
    for name in [*LIMITS, *(name for name in PEERS if name not in left_out)]:
        processes[name] = lambda turn, name=name: [*program, name, *arguments]
    if "Beam" not in left_out:
        for workers in (1, 2):
            processes[f"Beam's local engine, {workers} worker(s)"] = lambda turn, workers=workers: [
                sys.executable, "-m", "converters.images.embed_job", str(models / "model.keras"), str(pictures),
                "--output", str(models / "beam"), "--runner", "DirectRunner", "--direct_running_mode",
                "multi_processing", "--direct_num_workers", str(workers), "--threads", "1",
            ]  # fmt: skip
    runs: dict[str, list[Run]] = {name: [] for name in processes}
    for name, command in processes.items():
        if name.endswith("warm"):
            run(command(0))  # fills the cache
    for turn in range(size.turns):
        for name, command in processes.items():
            if not (turn and name.startswith("Beam")):  # a minute each, and compared with nothing
                runs[name].append(run(command(turn)))
    rows = [{"work": str(work)} | row_of(name, measured, size.pictures) for name, measured in runs.items()]
    inner = statistics.median(float(one.output.split()[1]) for one in runs[NETWORK])
    limit = statistics.median(one.seconds for one in runs[DECODE]) + inner
    return [*rows, {"work": str(work), "process": "limit", "images/s": size.pictures / limit, "median s": limit}]


def row_of(process: str, runs: Sequence[Run], images: int) -> Row:
    """Medians over the runs of a process; of the peaks the highest."""
    seconds = statistics.median(one.seconds for one in runs)
    return {
        "process": process,
        "images/s": images / seconds,
        "median s": seconds,
        "processor s": statistics.median(one.processor_seconds for one in runs),
        "peak MiB": max(one.peak_bytes for one in runs) / MIB,
        "runs": len(runs),
    }


def predict_rows(models: pathlib.Path, picture: pathlib.Path, folder: pathlib.Path, turns: int) -> list[Row]:
    """`predict` of one picture, without and with a kept network, in turns with the bare import."""
    runs: dict[str, list[Run]] = {FIRST: [], SECOND: [], BARE: []}
    for turn in range(turns):
        setting = f"import os; os.environ['MOBILENETS_CACHE'] = {str(folder / f'predict {turn}')!r}; "
        command = [*PYTHON, setting + PROGRAM[-1], "predict", str(models / "model.keras"), str(picture)]
        for name, process in ((FIRST, command), (SECOND, command),
                              (BARE, [*PYTHON, "import tensorflow"])):  # fmt: skip
            runs[name].append(run(process))
    return [row_of(name, measured, 1) for name, measured in runs.items()]


def targets_of(work: Work, rows: Sequence[Row]) -> list[Target]:
    """Ratios of `embed` to the limit and to the peers."""
    speed = {row["process"]: row["images/s"] for row in rows}
    ours = speed["embed --runtime auto, warm"]
    found = [Target(f"{work}: embed, warm: time against the limit", speed["limit"] / ours, 1.2)]
    if EARLIER in speed:
        least = 1.7 if work == V2_LARGE else 1.3
        found.append(
            Target(f"{work}: embed, warm: speed against {EARLIER}", ours / speed[EARLIER], least, at_least=True)
        )
    return found + [
        Target(f"{work}: embed, warm: speed against {name}", ours / speed[name], 1.0, at_least=True)
        for name in PEERS
        if name in speed
    ]
