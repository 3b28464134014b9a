"""Build, inference and training step on a GPU, in float32 and mixed precision, next to keras.applications."""

import logging
import time
from collections.abc import Callable

import keras
import tensorflow as tf

import mobilenets
from benchmarks.results import Result, Row
from benchmarks.steps import compiled, stages, training_batch
from benchmarks.subjects import V2_LARGE, Work, new_application, new_model
from benchmarks.timing import Schedule, interleaved

log = logging.getLogger(__name__)

BATCHES = (1, 32, 256)
POLICIES = ("float32", "mixed_float16")

METHOD = (
    "Median time on {device}. The batch is on the device; inference is timed until the logits are back in the host's "
    "memory, a training step (SGD with momentum) until its loss is. Inference with and without XLA, "
    "training without; the fused model is for inference only. Float32 convolutions run with TensorFlow's default, TF32 "
    "if the device has it."
)


def measure(quick: bool) -> Result:
    """Where there is a GPU; otherwise a result that says there is none."""
    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return Result("gpu", "Not run: TensorFlow finds no GPU on this machine.")
    name = tf.config.experimental.get_device_details(devices[0]).get("device_name", devices[0].name)
    rows = []
    for policy in POLICIES:
        for batch in BATCHES[:2] if quick else BATCHES:
            log.info("gpu: %s, batch %d", policy, batch)
            rows += measure_batch(V2_LARGE, policy, batch, Schedule(3 if quick else 10, 0.2))
    return Result("gpu", METHOD.format(device=name), {f"{V2_LARGE}": rows}, rows)


def measure_batch(work: Work, policy: str, batch: int, schedule: Schedule) -> list[Row]:
    """A row per contender and task under a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    keras.backend.clear_session()
    try:
        calls, rows = contenders(work, batch)
    finally:
        keras.config.set_dtype_policy(before)
    timings = interleaved(calls, schedule)
    shared = {"policy": policy, "batch": batch}
    rows = [shared | row for row in rows]
    for (task, contender), timing in timings.items():
        speed = {"images per s": batch / timing.median}
        rows.append(shared | {"task": task, "contender": contender} | timing.milliseconds() | speed)
    return rows


def contenders(work: Work, batch: int) -> tuple[dict[tuple[str, str], Callable[[], object]], list[Row]]:
    """What to time, by task and name, and how long the models took to build (once)."""
    images, labels = map(tf.constant, training_batch(batch, work.image_size))
    calls, rows = {}, []
    for name, make in (("mobilenets", new_model), ("keras.applications", new_application)):
        start = time.perf_counter()
        model = make(work)
        rows.append({"task": "build", "contender": name, "median ms": 1e3 * (time.perf_counter() - start), "calls": 1})
        calls["training step", name] = stages(compiled(make(work)), images, labels)["whole step"]
        models = {name: model, f"{name}, fused": mobilenets.fuse(model)} if name == "mobilenets" else {name: model}
        for label, one in models.items():
            for xla in (False, True):
                calls["inference", label + (", XLA" if xla else "")] = inference(one, images, xla)
    return calls, rows


def inference(model: keras.Model, images: tf.Tensor, xla: bool) -> Callable[[], object]:
    """A call on a batch that is on the device already."""
    function = tf.function(lambda: model(images, training=False), jit_compile=xla)
    return lambda: function().numpy()
