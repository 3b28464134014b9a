"""Fine-tuning from a slim checkpoint, from end to end: convert, train, plot, save, load again.

    python -m examples.fine_tune [CHECKPOINT] [--output FOLDER]

Without a checkpoint, one of mobilenet_v1_0.25 is made with tf-slim, so that it runs offline; with published weights it
learns faster. The images are shapes that `examples.shapes` draws. It takes about a minute on two cores.
"""

import pathlib
import tempfile

import click

from converters.commands.quiet import import_tensorflow_quietly

import_tensorflow_quietly()

import keras
import matplotlib.pyplot as plt
import numpy as np

import converters
import mobilenets
from converters.commands.console import unusable_input_as_sentence
from examples.shapes import CLASSES, make_shapes
from tests.oracle.files import write_checkpoint

SIZE = 64


@click.command()
@click.argument("checkpoint", required=False)
@click.option("--output", default="demo-output", type=click.Path(path_type=pathlib.Path), help="Where results go.")
@click.option("--epochs", default=10, show_default=True, help="With all layers trained.")
@click.pass_context
def main(context, checkpoint, output, epochs):
    """Fine-tune CHECKPOINT (or one made on the spot) on drawn shapes."""
    keras.utils.set_random_seed(1)
    with tempfile.TemporaryDirectory() as folder, unusable_input_as_sentence():
        if not checkpoint:
            click.echo("Making a slim checkpoint of mobilenet_v1_0.25 with tf-slim ...")
            checkpoint = pathlib.Path(folder) / "mobilenet_v1_0.25.ckpt"
            write_checkpoint(checkpoint, "mobilenet_v1", 0.25)
        # Every weight but those of the new classification layer comes from the checkpoint.
        conversion = converters.conversion_of(checkpoint, num_classes=len(CLASSES), input_shape=(SIZE, SIZE, 3))
        click.echo("\n".join(conversion.notes))
        model = conversion.model

        train, test = make_shapes(2000, SIZE, seed=0), make_shapes(250, SIZE, seed=1)
        history = fine_tune(model, train, test, epochs)

        output.mkdir(parents=True, exist_ok=True)
        plot(history, output / "fine_tuning.png")
        model.save(output / "shapes.keras")
        loaded = keras.saving.load_model(output / "shapes.keras")
        same = np.array_equal(loaded.predict(test[0], verbose=0), model.predict(test[0], verbose=0))
        click.echo(
            f"Test accuracy {history['val_accuracy'][-1]:.1%} after {len(history['loss'])} epochs (chance: 20%)."
        )
        click.echo(f"Saved {output / 'shapes.keras'} and {output / 'fine_tuning.png'}.")
        click.echo(f"Loaded again, it gives {'the same' if same else 'OTHER'} predictions.")
    context.exit(0 if same else 1)


def fine_tune(model: keras.Model, train: tuple, test: tuple, epochs: int) -> dict[str, list[float]]:
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
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, count * len(train[0]) // 32)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        for name, values in model.fit(*train, 32, count, verbose=2, validation_data=test).history.items():
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
