"""The contenders: one table of who does the work, what it needs, and how to make it a callable ``images -> logits``.

Every callable takes a NumPy batch and returns NumPy logits, and may use as many threads as the machine has cores.
"""

import functools
import importlib.util
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import converters
from benchmarks.machine import cores
from benchmarks.subjects import APPLICATIONS, CLASSES, Subject, Work
from mobilenets import CONSTRUCTORS

Predict = Callable[[np.ndarray], np.ndarray]

OURS = "mobilenets"
APPLICATION = "keras.applications"
# transformers has no MobileNet V3.
TRANSFORMERS = ("mobilenet_v1", "mobilenet_v2")
# Network -> the families it has, whether it takes images in [0, 1], the model that says what is right, if one does.
FAMILIES = {OURS: CONSTRUCTORS, "slim": CONSTRUCTORS, APPLICATION: APPLICATIONS, "transformers": TRANSFORMERS}


class Contender(NamedTuple):
    """Somebody who does the work.

    Attributes:
        network: whose network it is, a key of `FAMILIES`.
        way: how it is run.
        packages: the optional ones that it needs, by import name.
        make: subject and images -> a callable for batches of the images' shape.
        largest_batch: beyond which it is not worth its time; None: no such bound.
    """

    network: str
    way: str
    packages: tuple[str, ...]
    make: Callable[[Subject, np.ndarray], Predict]
    largest_batch: int | None = None

    @property
    def name(self) -> str:
        return f"{self.network}: {self.way}"

    @property
    def signed(self) -> bool:
        """Whether it takes images in [-1, 1]; ours take [0, 1] and rescale them themselves."""
        return self.network != OURS

    def missing(self) -> str | None:
        """Which of its packages are not installed; None where all are."""
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def takes(self, work: Work, batch: int) -> bool:
        """Whether the network exists in its collection, and the batch is not too large."""
        return work.family in FAMILIES[self.network] and (self.largest_batch is None or batch <= self.largest_batch)

    def expected(self, subject: Subject, images: np.ndarray) -> np.ndarray | None:
        """What the Keras model with the same weights answers, plainly called; None where there is none."""
        models = {OURS: "ours", "slim": "ours", APPLICATION: "application"}
        if self.network not in models:
            return None
        model = getattr(subject, models[self.network])
        return np.asarray(model(images if model is subject.ours else 2 * images - 1, training=False))


# --- Keras models on TensorFlow ---


def in_function(model: keras.Model, xla: bool = False) -> Predict:
    """A model in a ``tf.function``: traced once, no Keras left at run time."""
    function = tf.function(functools.partial(model, training=False), jit_compile=xla)
    return lambda images: function(tf.convert_to_tensor(images)).numpy()


def by_predict(model: keras.Model) -> Predict:
    """As the guides of Keras say it."""
    return lambda images: model.predict(images, batch_size=len(images), verbose=0)


# --- Exported files in runtimes of their own ---


def open_litert(path: pathlib.Path, images: np.ndarray) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=cores())
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, images.shape)
    interpreter.allocate_tensors()
    logits = interpreter.get_output_details()[0]["index"]

    def predict(images):
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        return interpreter.get_tensor(logits)

    return predict


def open_onnx(path: pathlib.Path, images: np.ndarray) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return lambda images: session.run(None, {source: images})[0]


def open_openvino(path: pathlib.Path, images: np.ndarray) -> Predict:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(images.shape)
    # By itself it computes in bfloat16 where the processor can, which nobody else here does.
    settings = {"INFERENCE_NUM_THREADS": cores(), "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", settings)
    return lambda images: compiled(images)[0]


class Runtime(NamedTuple):
    """Where an export is run: its name, the packages to export and run, Keras's format, the file, how to open it."""

    name: str
    packages: tuple[str, ...]
    format: str
    file: str
    open: Callable[[pathlib.Path, np.ndarray], Predict]


RUNTIMES = (
    Runtime("LiteRT", ("ai_edge_litert",), "litert", "model.tflite", open_litert),
    Runtime("ONNX Runtime", ("tf2onnx", "onnxruntime"), "onnx", "model.onnx", open_onnx),
    Runtime("OpenVINO", ("openvino", "scipy"), "openvino", "model.xml", open_openvino),
)


def our_export(runtime: Runtime, subject: Subject, images: np.ndarray) -> Predict:
    path = subject.folder / f"ours-{runtime.file}"
    if not path.exists():
        converters.export(subject.ours, path, runtime.format)
    return runtime.open(path, images)


def application_export(runtime: Runtime, subject: Subject, images: np.ndarray) -> Predict:
    path = subject.folder / f"application-{runtime.file}"
    if not path.exists():
        subject.application.export(str(path), format=runtime.format, verbose=False)
    return runtime.open(path, images)


# --- The original, and PyTorch ---


def slim_session(subject: Subject, images: np.ndarray) -> Predict:
    """The frozen slim graph in a TensorFlow 1 session, with the optimizers that a session has by default."""
    from converters.graphs.frozen_graph import endpoint_ops

    v1 = tf.compat.v1
    definition = v1.GraphDef.FromString(subject.frozen_graph.read_bytes())
    with tf.Graph().as_default() as graph:
        v1.import_graph_def(definition, name="")
    ops = {
        endpoint.rpartition("/")[2]: op
        for endpoint, op in endpoint_ops(op.name for op in graph.get_operations()).items()
    }
    config = v1.ConfigProto(intra_op_parallelism_threads=cores(), inter_op_parallelism_threads=cores())
    run = v1.Session(graph=graph, config=config).make_callable(f"{ops['Logits']}:0", ["input:0"])
    return lambda images: run(images)


def transformers_model(subject: Subject, images: np.ndarray) -> Predict:
    """The port to PyTorch, with random weights, its memory laid out in PyTorch's faster order."""
    import torch
    import transformers

    work, name = subject.work, subject.work.family.replace("mobilenet_v", "MobileNetV")
    config = getattr(transformers, f"{name}Config")(
        depth_multiplier=work.depth_multiplier, image_size=work.image_size, num_labels=CLASSES
    )
    torch.set_num_threads(cores())
    model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:  # see `set_made_up_weights`
                parameter.normal_(0, np.sqrt(2 / np.prod(parameter.shape[1:])))
    model = model.to(memory_format=torch.channels_last)

    def predict(images):
        with torch.inference_mode():
            return model(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()

    return predict


CONTENDERS = (
    Contender(OURS, "inference_function", (), lambda subject, images: converters.inference_function(subject.ours)),
    Contender(OURS, "fused, tf.function", (), lambda subject, images: in_function(subject.fused)),
    # XLA's convolutions on processors are slow: 32 images of 96 pixels take 30 times as long as without it.
    Contender(OURS, "fused, tf.function with XLA", (), lambda subject, images: in_function(subject.fused, True), 1),
    Contender(OURS, "tf.function", (), lambda subject, images: in_function(subject.ours)),
    Contender(OURS, "Keras predict", (), lambda subject, images: by_predict(subject.ours)),
    *(Contender(OURS, to.name, to.packages, functools.partial(our_export, to)) for to in RUNTIMES),
    Contender(APPLICATION, "tf.function", (), lambda subject, images: in_function(subject.application)),
    Contender(APPLICATION, "Keras predict", (), lambda subject, images: by_predict(subject.application)),
    *(Contender(APPLICATION, to.name, to.packages, functools.partial(application_export, to)) for to in RUNTIMES),
    Contender("slim", "frozen graph, TF1 session", ("tf_slim", "tf_keras"), slim_session),
    Contender("transformers", "PyTorch", ("torch", "transformers"), transformers_model),
)
