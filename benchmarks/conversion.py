"""``mobilenets convert`` as a whole process, against one that imports TensorFlow and Keras and does nothing else.

Reading the variables of the same checkpoint is measured against ``tf.train.load_checkpoint``, also in whole processes.
The conversion is measured on JAX too, without TensorFlow, where `make test-backends` has set up the environment.
"""

import importlib.util
import logging
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.processes import Run, run
from benchmarks.results import Result, Row, Target

log = logging.getLogger(__name__)

METHOD = (
    "Wall time and peak resident memory of whole processes, run in turns; the files are in the page cache, and "
    "matplotlib, which Keras imports if it is installed, is hidden. The checkpoint is one of mobilenet_v2_1.0_224 from "
    "slim's trainer after one step, with moving averages of all trainable variables and two slots of RMSProp."
)
GRAPH, LITERT = "mobilenets convert frozen.pb", "mobilenets convert model.tflite"
BARE, CONVERT, HELP = "python -c 'import tensorflow, keras'", "mobilenets convert", "mobilenets --help"
# Keras imports matplotlib where it is installed, which users of the converter need not have, and which would make the
# import that everything is compared with slower.
PYTHON = (sys.executable, "-c")
ALONE = "import sys; sys.modules['matplotlib'] = None; "
MAIN = "from converters.cli import main; main()"
PROGRAM = (*PYTHON, ALONE + MAIN)
JAX_PYTHON = pathlib.Path(__file__).parents[1] / ".venv-jax" / "bin" / "python"
JAX_BARE, JAX_CONVERT = "python -c 'import jax, keras', no TensorFlow", "mobilenets convert on JAX, no TensorFlow"
ON_JAX = "import os; os.environ['KERAS_BACKEND'] = 'jax'; " + ALONE
MIB = 2**20
READ, READ_BY_TENSORFLOW = "checkpoints.load_variables", "tf.train.load_checkpoint"
READERS = {
    READ: "import sys, checkpoints; checkpoints.load_variables(sys.argv[1])",
    READ_BY_TENSORFLOW: """
import sys, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
""",
}


def measure(quick: bool) -> Result:
    """Processes in turns: the bare import, the conversion, the help text, and two readers of all variables."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = pathlib.Path(folder, "mobilenet_v2_1.0_224.ckpt")
        log.info("conversion: making the checkpoint")
        run([*PYTHON, MAKE_CHECKPOINT, str(prefix)])
        # Not next to the checkpoint, whose conversion would read the graph.
        graphs = pathlib.Path(folder, "graphs")
        graphs.mkdir()
        run([*PYTHON, MAKE_GRAPHS, str(graphs / "model")])
        size = sum(path.stat().st_size for path in prefix.parent.glob(f"{prefix.name}.*"))
        output = ["-o", str(prefix.with_suffix(".keras")), "--force"]
        commands = {
            BARE: [*PYTHON, ALONE + "import tensorflow, keras"],
            CONVERT: [*PROGRAM, "convert", str(prefix), *output],
            GRAPH: [*PROGRAM, "convert", str(graphs / "model.pb"), *output],
            HELP: [*PROGRAM, "--help"],
            **{name: [*PYTHON, ALONE + program.strip(), str(prefix)] for name, program in READERS.items()},
        }
        if importlib.util.find_spec("ai_edge_litert") is None:
            log.info("conversion: ai-edge-litert is not installed, so no .tflite file is converted")
        else:
            commands[LITERT] = [*PROGRAM, "convert", str(graphs / "model.tflite"), *output]
        if JAX_PYTHON.exists():
            commands[JAX_BARE] = [str(JAX_PYTHON), "-c", ON_JAX + "import jax, keras"]
            commands[JAX_CONVERT] = [str(JAX_PYTHON), "-c", ON_JAX + MAIN, "convert", str(prefix), *output]
        else:
            log.info("conversion: .venv-jax is missing (make test-backends), so nothing is converted on JAX")
        runs = {name: [] for name in commands}
        for turn in range(2 if quick else 12):
            log.info("conversion: turn %d", turn + 1)
            for name, command in commands.items():
                runs[name].append(run(command))
    # The first turn read everything from the disk.
    rows = [row(name, measured[1:]) for name, measured in runs.items()]
    tables = {f"Checkpoint of {size / MIB:.0f} MiB": rows}
    return Result("conversion", METHOD, tables, rows, [*targets(rows, size), *reading_targets(rows)])


MAKE_CHECKPOINT = """
import sys
from tests.oracle.files import write_checkpoint
write_checkpoint(sys.argv[1], "mobilenet_v2", 1.0, averages=True, optimizer="rmsprop")
"""


MAKE_GRAPHS = """
import sys
import tensorflow as tf
from tests.oracle.files import freeze
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes
prefix = sys.argv[1]
variables = made_up_variables(variable_shapes("mobilenet_v2", 1.0))
freeze(f"{prefix}.pb", "mobilenet_v2", variables, depth_multiplier=1.0, image_size=224, batch=1)
names = ["input"], ["MobilenetV2/Predictions/Reshape_1"]
converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(f"{prefix}.pb", *names)
open(f"{prefix}.tflite", "wb").write(converter.convert())
"""


def row(process: str, runs: Sequence[Run]) -> Row:
    """Medians over the runs of a process; of the peaks the highest."""
    seconds = [one.seconds for one in runs]
    return {
        "process": process,
        "median s": statistics.median(seconds),
        "min s": min(seconds),
        "max s": max(seconds),
        "processor s": statistics.median(one.processor_seconds for one in runs),
        "peak MiB": max(one.peak_bytes for one in runs) / MIB,
        "runs": len(runs),
    }


def targets(rows: Sequence[Row], checkpoint_bytes: int) -> list[Target]:
    """Time as a multiple of the bare import's, and memory beyond it as a multiple of the checkpoint's size."""
    named: Mapping[object, Row] = {row["process"]: row for row in rows}
    beyond = (named[CONVERT]["peak MiB"] - named[BARE]["peak MiB"]) * MIB / checkpoint_bytes
    times = [("whole conversion", CONVERT, BARE, 1.5), ("whole conversion on JAX", JAX_CONVERT, JAX_BARE, 1.2)]
    return [
        *(
            Target(f"{what}: time against the bare import", named[name]["median s"] / named[bare]["median s"], bound)
            for what, name, bare, bound in times
            if name in named
        ),
        Target("whole conversion: peak memory beyond the bare import's, in checkpoint sizes", beyond, 3.0),
        Target("help text", named[HELP]["median s"], 0.5, "s"),
    ]


def reading_targets(rows: Sequence[Row]) -> list[Target]:
    """Time and memory of reading as a part of what TensorFlow's reader takes."""
    ours, theirs = ({row["process"]: row for row in rows}[name] for name in (READ, READ_BY_TENSORFLOW))
    return [
        Target(f"reading: {what} against TensorFlow's reader", ours[key] / theirs[key], 0.5)
        for what, key in (("time", "median s"), ("peak memory", "peak MiB"))
    ]
