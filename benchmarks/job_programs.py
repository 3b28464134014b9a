"""What users write to get feature vectors of a folder, each a process: ``python -m benchmarks.job_programs NAME ...``.

Arguments: the program, the folder of JPEG files, the image size, the depth multiplier, and the folder with the model in
the formats that a program needs. Each computes the features of all files and prints their number and the seconds
without imports.
"""

import os
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BATCH = 32


def decode_only(paths, size, _multiplier, _models):
    """Reading and preparing, as `embed` does, without a network."""
    from converters.images.pipeline import image_batches

    start = time.perf_counter()
    return sum(len(batch.images) for batch in image_batches(paths, size, BATCH)), start


def network_only(paths, size, _multiplier, models):
    """The network of `embed` with the runtime that "auto" takes, on as many images in memory."""
    from converters.images.models import open_image_model

    images = np.random.default_rng(0).uniform(size=(BATCH, size, size, 3)).astype(np.float32)
    features = open_image_model(models / "model.keras", runtime="auto").features(images[:4])
    features(images)
    start = time.perf_counter()
    return sum(len(features(images[: len(paths) - done])) for done in range(0, len(paths), BATCH)), start


def keras_applications(paths, size, multiplier, _models):
    """A `tf.data` pipeline and `predict` of keras.applications."""
    import keras
    import tensorflow as tf

    start = time.perf_counter()
    model = keras.applications.MobileNetV2(
        (size, size, 3), alpha=multiplier, weights=None, include_top=False, pooling="avg"
    )

    def load(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (size, size)) / 127.5 - 1

    files = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return len(model.predict(files.batch(BATCH).prefetch(tf.data.AUTOTUNE), verbose=0)), start


def onnx_pillow(paths, size, _multiplier, models):
    """ONNX Runtime, and Pillow in as many threads as cores."""
    import onnxruntime

    start = time.perf_counter()
    session = onnxruntime.InferenceSession(str(models / "model.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = pool.map(lambda path: _by_pillow(path, size), paths)
        return sum(len(session.run(None, {name: batch})[0]) for batch in _batches(images)), start


def torch_timm(paths, size, multiplier, _models):
    """PyTorch's DataLoader with a process per core, and timm's network."""
    import timm
    import torch

    start = time.perf_counter()
    name = f"mobilenetv2_{round(100 * multiplier):03d}"
    model = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
    loader = torch.utils.data.DataLoader(_Files(paths, size), BATCH, num_workers=os.cpu_count())
    with torch.inference_mode():
        return sum(len(model(batch.permute(0, 3, 1, 2))) for batch in loader), start


def hub_layer(paths, size, _multiplier, models):
    """`hub.KerasLayer` in tf_keras, and a `tf.data` pipeline."""
    import tensorflow as tf
    import tensorflow_hub
    import tf_keras

    start = time.perf_counter()
    layer = tensorflow_hub.KerasLayer(str(models / "module"))
    model = tf_keras.Sequential([tf_keras.Input((size, size, 3)), layer])

    def load(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (size, size)) / 255

    files = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return len(model.predict(files.batch(BATCH).prefetch(tf.data.AUTOTUNE), verbose=0)), start


class _Files:
    def __init__(self, paths, size):
        self.paths, self.size = paths, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        return 2 * _by_pillow(self.paths[number], self.size) - 1


def _by_pillow(path: str, size: int) -> np.ndarray:
    import PIL.Image

    with PIL.Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size)), np.float32) / 255


def _batches(images):
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


PEERS = {
    "keras.applications: tf.data, predict": (keras_applications, ("keras",)),
    "ONNX Runtime, Pillow": (onnx_pillow, ("onnxruntime", "tf2onnx")),
    "PyTorch, timm": (torch_timm, ("torch", "timm")),
    "hub.KerasLayer, tf_keras": (hub_layer, ("tensorflow_hub", "tf_keras")),
}
"""What is compared with `embed`, and the packages that it needs."""

DECODE, NETWORK = "decode only", "network only"
LIMITS = {DECODE: decode_only, NETWORK: network_only}


def main(name: str, folder: str, size: str, multiplier: str, models: str) -> None:
    """Runs a program and prints what it did."""
    program = LIMITS[name] if name in LIMITS else PEERS[name][0]
    paths = sorted(str(path) for path in pathlib.Path(folder).iterdir())
    count, start = program(paths, int(size), float(multiplier), pathlib.Path(models))
    print(count, time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
