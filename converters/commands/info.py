"""The commands ``mobilenets list | info``: the published models, the facts of a file, and pictures of both."""

import contextlib
import json
import pathlib
from collections.abc import Mapping

import click

import mobilenets
from converters.commands.console import as_json, echo, load_keras
from converters.commands.display import display_on_stderr


@click.command("list")
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)))
@as_json
def list_command(family, as_json):
    """List the published models."""
    from converters.text import text_of

    infos = [mobilenets.get_model_info(name) for name in mobilenets.list_models(family)]
    echo(json.dumps([info.to_dict() for info in infos], indent=1) if as_json else text_of(_models_table(infos)))


def _models_table(infos):
    """The published models, a row each."""
    from converters.text import plain_table, right

    numeric = ("size", "features", "parameters", "MACs (M)", "top-1 %", "top-5 %")
    table = plain_table("name", right("multiplier"), *map(right, numeric))
    for info in infos:
        size = f"{info.image_size}{'' if info.fixed_image_size else ' (any)'}"
        numbers = (f"{info.parameters:,}", f"{info.macs / 1e6:.1f}", f"{info.top1}", _top5(info))
        table.add_row(info.name, f"{info.depth_multiplier:g}", size, str(info.num_features), *numbers)
    return table


def _top5(info):
    return "-" if info.top5 is None else f"{info.top5}"


def _options(info):
    """The variant of a published model in words."""
    return [name if value is True else str(value) for name, value in info.options.items()]


@click.command("info", short_help="Print the facts of a model, or draw it.")
@click.argument("model")
@click.option("--plot", type=click.Path(path_type=pathlib.Path), help="Draw the network: a .png, .svg or .pdf.")
@as_json
def info_command(model, plot, as_json):
    """Print the facts of MODEL: a published model (name or hub handle) or a .keras file.

    For a published model: image size, parameters, multiply-adds, accuracy, and its URLs. For a file, which is compared
    with the manifest next to it if there is one: layers, parameters, multiply-adds and the published number of them,
    receptive field, and memory for one image. A picture (--plot) needs mobilenets[plots].
    """
    if model.endswith(".keras"):
        facts, shown = _of_file(model, plot)
    else:
        info = mobilenets.get_model_info(model)
        facts, shown = info.to_dict(), _published_readable(info)
        if plot:
            _draw_published(facts["name"], plot)
    from converters.text import facts_table, text_of

    echo(json.dumps(facts, indent=1) if as_json else text_of(facts_table(shown)))


def _of_file(path: str, plot: pathlib.Path | None) -> tuple[dict, dict]:
    """The facts of a file as JSON values, and as people read them."""
    with display_on_stderr() as display:
        load_keras(display)
        from converters.image_sizes import image_size_of
        from converters.inspection.measures import model_facts
        from converters.inspection.network_plot import check_plot, plot_network
        from converters.keras_file import load_checked_model

        if plot:
            check_plot(plot)
        display.step(f"Opening {path}")
        loaded, published = load_checked_model(path)
        published = published or _named(loaded.name)
        size = image_size_of(loaded, published) if None in loaded.input_shape[1:3] else None
        facts = model_facts(loaded, size)
        if plot:
            display.step(f"Drawing {plot}")
            plot_network(loaded, plot, size)
    facts["published"] = published.to_dict() if published else None
    return facts, _readable(facts)


def _named(name: str) -> mobilenets.ModelInfo | None:
    """The published model of that name, if there is one."""
    with contextlib.suppress(ValueError):
        return mobilenets.get_model_info(name)
    return None


def _draw_published(name: str, plot: pathlib.Path) -> None:
    with display_on_stderr() as display:
        load_keras(display)
        from converters.inspection.network_plot import check_plot, plot_network

        check_plot(plot)
        display.step(f"Drawing {plot}")
        plot_network(mobilenets.build(name), plot)


def _published_readable(info: mobilenets.ModelInfo) -> dict[str, object]:
    def with_published(count: int, millions: float | None) -> str:
        return f"{count:,}" if millions is None else f"{count:,} (published: {millions:g} million)"

    from converters.text import shape_text

    size = shape_text((info.image_size, info.image_size))
    return {
        "name": info.name,
        "family": ", ".join([info.family, *_options(info), f"depth multiplier {info.depth_multiplier:g}"]),
        "image": f"{size}{'' if info.fixed_image_size else '; takes any size'}",
        "features": info.num_features,
        "classes": info.num_classes,
        "parameters": with_published(info.parameters, info.published_parameters_millions),
        "trainable_parameters": info.trainable_parameters,
        "multiply-adds": with_published(info.macs, info.published_macs_millions),
        "published_accuracy": f"top-1 {info.top1} %" + (f", top-5 {info.top5} %" if info.top5 else ""),
        "checkpoint": f"{info.checkpoint_path} in {info.checkpoint_url}",
        "sha256": info.archives[0].sha256 or "not known",
        "hub_handle": info.hub_handle or "none",
    }


def _readable(facts: Mapping) -> dict[str, object]:
    from converters.text import shape_text

    published = facts["published"]
    macs = f"{facts['macs']:,}"
    if published and published["published_macs_millions"]:
        size = published["image_size"]
        macs += (
            f" (published: {published['published_macs_millions']:g} million, at {shape_text((size, size))} with "
            f"{mobilenets.PUBLISHED_CLASSES} logits)"
        )
    return {
        "name": facts["name"],
        "published_model": published["name"] if published else "not identified",
        "image": shape_text(facts["input"]),
        "layers": facts["layers"],
        "parameters": facts["parameters"],
        "trainable_parameters": facts["trainable_parameters"],
        "multiply-adds": macs,
        "last_feature_map": f"{shape_text(facts['feature_map'])}, a value every {shape_text(facts['stride'])} pixels",
        "receptive_field": f"{shape_text(facts['receptive_field'])} pixels",
        "weights": _megabytes(facts["weights_bytes"]),
        "peak_activations": f"{_megabytes(facts['peak_activation_bytes'])} per image",
    }


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
