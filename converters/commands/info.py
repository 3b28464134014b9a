"""The command ``mobilenets info``: what is known of a published model, what a file holds, and a picture of either."""

import contextlib
import json
import pathlib
from collections.abc import Mapping

import click
import lazy_loader

from converters.commands.console import as_json, working

mobilenets = lazy_loader.load("mobilenets")


@click.command("info")
@click.argument("model")
@click.option("--plot", type=click.Path(path_type=pathlib.Path), help="Draw the network: a .png, .svg or .pdf.")
@as_json
def info_command(model, plot, as_json):
    """Tell what is known of MODEL, a published model (name or hub handle), or what a .keras file holds.

    Of a file: layers, parameters, multiply-adds beside the published ones, receptive field and memory for one image.
    A picture (--plot) needs mobilenets[plots].
    """
    if model.endswith(".keras"):
        facts, shown = _of_file(model, plot)
    else:
        facts = shown = mobilenets.get_model_info(model).to_dict()
        if plot:
            _draw_published(facts["name"], plot)
    from converters.reports.tables import facts_table, text_of

    click.echo(json.dumps(facts, indent=1) if as_json else text_of(facts_table(shown)))


def _of_file(path: str, plot: pathlib.Path | None) -> tuple[dict, dict]:
    """The facts of a file as JSON values, and as people read them."""
    with working("Loading TensorFlow and Keras") as say:
        from converters.manifest import open_keras_file
        from converters.reports.network_plot import check_plot, plot_network
        from mobilenets.measures import model_facts

        if plot:
            check_plot(plot)
        say(f"Opening {path}")
        loaded = open_keras_file(path)
        published = _published(path, loaded.name)
        size = None
        if None in loaded.input_shape[1:3]:
            size = published.image_size if published else 224
        facts = model_facts(loaded, size)
        if plot:
            say(f"Drawing {plot}")
            plot_network(loaded, plot, size)
    facts["published"] = published.to_dict() if published else None
    return facts, _readable(facts)


def _published(path: str, model_name: str) -> "mobilenets.ModelInfo | None":
    """The published model that a file is, as its manifest or else the model's own name says."""
    from converters.manifest import manifest_path, read_manifest

    names = [model_name]
    if manifest_path(path).is_file():
        names.insert(0, read_manifest(manifest_path(path))["configuration"].get("name"))
    for name in filter(None, names):
        with contextlib.suppress(ValueError):
            return mobilenets.get_model_info(name)
    return None


def _draw_published(name: str, plot: pathlib.Path) -> None:
    with working("Loading TensorFlow and Keras") as say:
        from converters.reports.network_plot import check_plot, plot_network

        check_plot(plot)
        say(f"Drawing {plot}")
        plot_network(mobilenets.build(name), plot)


def _readable(facts: Mapping) -> dict[str, object]:
    published = facts["published"]
    macs = f"{facts['macs']:,}"
    if published and published["published_macs_millions"]:
        size = published["image_size"]
        macs += f" (published: {published['published_macs_millions']:g} million, at {size}x{size} with 1001 logits)"
    height, width = facts["receptive_field"]
    return {
        "name": facts["name"],
        "published_model": published["name"] if published else "none that the manifest or the model's name says",
        "image": _by(facts["input"]),
        "layers": facts["layers"],
        "parameters": facts["parameters"],
        "trainable_parameters": facts["trainable_parameters"],
        "multiply-adds": macs,
        "last_feature_map": f"{_by(facts['feature_map'])}, a value every {_by(facts['stride'])} pixels",
        "receptive_field": f"{height}x{width} pixels",
        "weights": _megabytes(facts["weights_bytes"]),
        "peak_activations": f"{_megabytes(facts['peak_activation_bytes'])} per image",
    }


def _by(sizes) -> str:
    return "x".join(map(str, sizes))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
