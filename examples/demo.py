"""``make demo``: a slim checkpoint goes in, a Keras model comes out, and every endpoint is compared with slim.

Without an argument a checkpoint of mobilenet_v2_0.35_96 is made with tf-slim: one step in training mode, after which
it holds averages, RMSProp slots and ``global_step`` as a published one does. With an argument, that checkpoint (or hub
module) is converted. The reference is tf-slim's own graph with the checkpoint's averages, selected here without this
project's converter.

Slim's graph is run twice, as slim itself builds it for each type. In float32 it has fused batch norms, the op that all
published files have; TensorFlow has no such op in float64, where slim's batch norm is a multiplication and an addition.
The two round differently, so they are not compared with each other: each is compared with the exact model, float32
within the rounding of float32 and float64 within 1e-12.
"""

import pathlib
import tempfile

import click

from converters.commands.quiet import import_keras_quietly

import_keras_quietly()

import checkpoints
import converters
from converters.commands.console import unusable_input_as_sentence
from converters.network_files import is_hub_module
from converters.parity.report_text import report_text
from converters.text import facts_text
from tests.oracle.files import freeze, write_checkpoint
from tests.oracle.run import variable_shapes

OUTPUT = pathlib.Path("demo-output")


@click.command()
@click.argument("checkpoint", required=False)
@click.pass_context
def demo(context, checkpoint):
    """Convert CHECKPOINT (by default one made here) and compare it with the slim graph, in float32 and float64."""
    with tempfile.TemporaryDirectory() as folder, unusable_input_as_sentence():
        folder = pathlib.Path(folder)
        if not checkpoint:
            checkpoint = folder / "mobilenet_v2_0.35_96.ckpt"
            click.echo("Making a slim checkpoint of mobilenet_v2_0.35_96 with tf-slim (one training step) ...")
            written = write_checkpoint(checkpoint, "mobilenet_v2", 0.35)
            click.echo(f"  {len(written)} entries: variables, their averages, RMSProp slots, global_step\n")

        click.echo(f"Converting {checkpoint} ...")
        conversion = converters.conversion_of(checkpoint)
        # A folder may be called mobilenet_v1_0.25_128, which has no suffix.
        named = pathlib.Path(checkpoint)
        output = OUTPUT / f"{named.name if named.is_dir() else named.stem}.keras"
        OUTPUT.mkdir(exist_ok=True)
        converters.save_model(conversion, output, force=True)
        click.echo(facts_text(conversion.facts() | {"output": str(output)}) + "\n")

        model = converters.load_model(output)
        # Of a hub module too the weights; its outputs follow below.
        weights = checkpoints.load_variables(checkpoint) if is_hub_module(checkpoint) else checkpoint
        reports = [converters.verify(model, weights, name=str(output))]
        for dtype in ("float32", "float64"):
            click.echo(f"Comparing {output} with tf-slim's graph in {dtype} ...")
            graph = folder / f"slim_graph_{dtype}.pb"
            write_slim_graph(graph, checkpoint, conversion.configuration, dtype)
            reports.append(converters.verify(model, graph, name=str(output)))
            click.echo(f"{reports[-1]}\n")
        if is_hub_module(checkpoint):
            click.echo(f"Comparing {output} with the module {checkpoint} ...")
            reports.append(converters.verify(model, checkpoint, name=str(output)))
            click.echo(f"{report_text(reports[-1], every_row=False)}\n")
        click.echo(reports[0])
        passed = all(report.passed for report in reports)
        click.echo(
            f"\n{'All agree' if passed else 'NOT all agree'}: weights bit for bit, endpoints in float32 and float64."
        )
    context.exit(0 if passed else 1)


def write_slim_graph(path, checkpoint, configuration, dtype):
    """The frozen slim graph of a checkpoint, with the averaged value of every variable that has one."""
    family, multiplier = configuration["family"], configuration["depth_multiplier"]
    size, classes = configuration["input_shape"][0], configuration["num_classes"]
    network = {
        "depth_multiplier": multiplier,
        "num_classes": classes if configuration["head"] == "classification" else None,
        # None, slim's own way, unless the widths say otherwise.
        "finegrain": {None: None, True: False, False: True}[configuration.get("scale_last_layer")],
    }
    values = {}
    with checkpoints.open_variables(checkpoint) as held:
        for name in variable_shapes(family, **network):
            average = f"{name}/ExponentialMovingAverage"
            moving = name.endswith(("moving_mean", "moving_variance"))
            values[name] = held[average if average in held and not moving else name]
    freeze(path, family, values, image_size=size, dtype=dtype, **network)


if __name__ == "__main__":
    demo()
