"""The commands ``mobilenets list | info``: the published models, what a file holds, and a picture of either."""

import contextlib
import json
import pathlib
from collections.abc import Mapping

import click
import lazy_loader

from converters.commands.console import as_json, working

mobilenets = lazy_loader.load("mobilenets")


@click.command("list")
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)))
@as_json
def list_command(family, as_json):
    """List the 39 published models."""
    from converters.text import text_of

    infos = [mobilenets.get_model_info(name) for name in mobilenets.list_models(family)]
    click.echo(json.dumps([info.to_dict() for info in infos], indent=1) if as_json else text_of(_models_table(infos)))


def _models_table(infos):
    """The published models, a row each."""
    from converters.text import plain_table, right

    numeric = ("size", "features", "parameters", "MACs (M)", "top-1 %", "top-5 %")
    table = plain_table("name", right("multiplier"), *map(right, numeric))
    for info in infos:
        size = f"{info.image_size}{'' if info.fixed_image_size else ' (any)'}"
        numbers = (f"{info.parameters:,}", f"{info.macs / 1e6:.1f}", f"{info.top1}", f"{info.top5}")
        table.add_row(info.name, f"{info.depth_multiplier:g}", size, str(info.num_features), *numbers)
    return table


@click.command("info", short_help="Tell what is known of a model, or draw it.")
@click.argument("model")
@click.option("--plot", type=click.Path(path_type=pathlib.Path), help="Draw the network: a .png, .svg or .pdf.")
@as_json
def info_command(model, plot, as_json):
    """Tell what is known of MODEL, a published model (name or hub handle), or what a .keras file holds.

    Of a published model: image size, parameters, multiply-adds, accuracy, and where it lies. Of a file:
    layers, parameters, multiply-adds beside the published ones, receptive field and memory for one image.
    A picture (--plot) needs mobilenets[plots].
    """
    if model.endswith(".keras"):
        facts, shown = _of_file(model, plot)
    else:
        info = mobilenets.get_model_info(model)
        facts, shown = info.to_dict(), _published_readable(info)
        if plot:
            _draw_published(facts["name"], plot)
    from converters.text import facts_table, text_of

    click.echo(json.dumps(facts, indent=1) if as_json else text_of(facts_table(shown)))


def _of_file(path: str, plot: pathlib.Path | None) -> tuple[dict, dict]:
    """The facts of a file as JSON values, and as people read them."""
    with working("Loading TensorFlow and Keras") as say:
        from converters.inspection.measures import model_facts
        from converters.inspection.network_plot import check_plot, plot_network
        from converters.keras_file import open_keras_file

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
        from converters.inspection.network_plot import check_plot, plot_network

        check_plot(plot)
        say(f"Drawing {plot}")
        plot_network(mobilenets.build(name), plot)


def _published_readable(info: "mobilenets.ModelInfo") -> dict[str, object]:
    def beside(count: int, millions: float | None) -> str:
        return f"{count:,}" if millions is None else f"{count:,} (published: {millions:g} million)"

    size = f"{info.image_size}x{info.image_size}"
    return {
        "name": info.name,
        "family": f"{info.family}, depth multiplier {info.depth_multiplier:g}",
        "image": f"{size}{'' if info.fixed_image_size else '; takes any size'}",
        "features": info.num_features,
        "classes": info.num_classes,
        "parameters": beside(info.parameters, info.published_parameters_millions),
        "trainable_parameters": info.trainable_parameters,
        "multiply-adds": beside(info.macs, info.published_macs_millions),
        "published_accuracy": f"top-1 {info.top1} %, top-5 {info.top5} %",
        "checkpoint": f"{info.checkpoint_path} in {info.checkpoint_url}",
        "hub_handle": info.hub_handle,
    }


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
