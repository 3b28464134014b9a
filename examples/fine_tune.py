"""Fine-tuning from a slim checkpoint, from end to end: convert, train, plot, save, load again.

    python -m examples.fine_tune [CHECKPOINT] [--data FOLDER] [--output FOLDER]

Without a checkpoint, one of mobilenet_v1_0.25 is made with tf-slim, so it runs offline; with published weights it
learns faster. The images are those of a folder for each class, by default shapes that `examples.shapes` draws. With
these it takes about a minute on two cores.
"""

import pathlib
import tempfile
from typing import NamedTuple

import click

from converters.commands.quiet import import_keras_quietly

import_keras_quietly()

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import converters
import mobilenets
from converters.commands.console import unusable_input_as_sentence
from examples.datasets import without_autotuner
from examples.shapes import CLASSES, make_shapes
from tests.oracle.files import write_checkpoint

SHAPES_SIZE = 64
FOLDER_SIZE = 128
BATCH = 32


class Data(NamedTuple):
    """Images in [0, 1] with the indices of their classes."""

    labels: list[str]
    train: tf.data.Dataset
    test: tf.data.Dataset


def drawn_shapes() -> Data:
    """Returns 2000 shapes to train with and 250 to test with."""
    train, test = (
        tf.data.Dataset.from_tensor_slices(make_shapes(count, SHAPES_SIZE, seed))
        for seed, count in enumerate((2000, 250))
    )
    return Data(list(CLASSES), train.shuffle(2000, seed=1).batch(BATCH), test.batch(BATCH))


def pictures(folder: pathlib.Path) -> Data:
    """Returns the images in ``folder/<class>/``: four fifths, varied at random, to train with, the others to test."""
    size = round(FOLDER_SIZE / 0.8)
    train, test = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(size, size),
        crop_to_aspect_ratio=True,
        batch_size=BATCH,
        validation_split=0.2,
        subset="both",
        seed=1,
        verbose=False,
    )
    network = mobilenets.MobileNetV1(0.25, (FOLDER_SIZE, FOLDER_SIZE, 3))  # all networks take the same images
    return Data(
        train.class_names,
        train.map(mobilenets.image_pipeline(network, training=True)),
        test.map(mobilenets.image_pipeline(network)).cache(),
    )


@click.command()
@click.argument("checkpoint", required=False)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path),
    help="A folder with a folder of images for each class.  [drawn shapes]",
)
@click.option(
    "--output",
    default="demo-output",
    show_default=True,
    type=click.Path(path_type=pathlib.Path),
    help="Where results go.",
)
@click.option("--epochs", default=10, show_default=True, help="With all layers trained.")
@click.pass_context
def main(context, checkpoint, data, output, epochs):
    """Fine-tune CHECKPOINT (or one made on the spot) on a folder of images, or on drawn shapes."""
    keras.utils.set_random_seed(1)
    with tempfile.TemporaryDirectory() as folder, unusable_input_as_sentence():
        size = FOLDER_SIZE if data else SHAPES_SIZE
        labels, *datasets = pictures(data) if data else drawn_shapes()
        train, test = map(without_autotuner, datasets)
        if not checkpoint:
            click.echo("Making a slim checkpoint of mobilenet_v1_0.25 with tf-slim ...")
            checkpoint = pathlib.Path(folder) / "mobilenet_v1_0.25.ckpt"
            write_checkpoint(checkpoint, "mobilenet_v1", 0.25)
        # Every weight but those of the new classification layer comes from the checkpoint.
        conversion = converters.conversion_of(checkpoint, num_classes=len(labels), input_shape=(size, size, 3))
        click.echo("\n".join(conversion.notes))
        model = conversion.model
        history = fine_tune(model, train, test, epochs)

        output.mkdir(parents=True, exist_ok=True)
        name = data.resolve().name if data else "shapes"
        plot(history, output / "fine_tuning.png")
        model.save(output / f"{name}.keras")
        (output / f"{name}.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        loaded = keras.saving.load_model(output / f"{name}.keras")
        same = np.array_equal(loaded.predict(test, verbose=0), model.predict(test, verbose=0))
        click.echo(
            f"Test accuracy {history['val_accuracy'][-1]:.1%} after {len(history['loss'])} epochs "
            f"(chance: {1 / len(labels):.0%})."
        )
        click.echo(f"Saved {output / name}.keras, its labels {output / name}.txt, and {output / 'fine_tuning.png'}.")
        click.echo(f"Loaded again, it gives {'the same' if same else 'OTHER'} predictions.")
        if data:
            click.echo(f"Next: mobilenets predict {output / name}.keras IMAGES --labels {output / name}.txt")
    context.exit(0 if same else 1)


def fine_tune(model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset, epochs: int) -> dict[str, list[float]]:
    """First the new classification layer alone, then all layers; returns losses and accuracies per epoch."""
    # Batch statistics of a small set move fast: a lower momentum than the 0.99 of the hub modules follows them.
    mobilenets.set_batch_norm_momentum(model, 0.9)
    steps = [(False, 2, 3e-3), (True, epochs, 3e-3)]
    history: dict[str, list[float]] = {}
    for train_all, count, rate in steps:
        for layer in model.layers:
            layer.trainable = train_all or "__Logits__" in layer.name
        # Weight decay comes with the model: its L2 terms are part of the loss.
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, count * len(train))),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        for name, values in model.fit(train, epochs=count, verbose=2, validation_data=test).history.items():
            history.setdefault(name, []).extend(values)
    return history


def plot(history: dict[str, list[float]], path: pathlib.Path) -> None:
    """Loss and accuracy over the epochs, as a PNG."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[name], label="training")
        axis.plot(epochs, history[f"val_{name}"], label="test")
        axis.set(xlabel="epoch", title=name)
        axis.axvline(2.5, color="grey", linestyle=":", label="all layers from here")
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 1.02)
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
