"""The commands ``mobilenets list | info``: the published models, the facts of a file, and pictures of both."""

import contextlib
import json
import pathlib
import textwrap
from collections.abc import Mapping

import click

import mobilenets
from converters.commands.completion import paths_and_names
from converters.commands.console import UnusableInput, as_json, cache_option, echo, load_keras
from converters.commands.display import display_on_stderr


@click.command("list")
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)), help="The models of one family.  [all]")
@as_json
def list_command(family, as_json):
    """List the published models."""
    infos = [mobilenets.get_model_info(name) for name in mobilenets.list_models(family)]
    echo(json.dumps([info.to_dict() for info in infos], indent=1) if as_json else _models_text(infos))


def _models_text(infos) -> str:
    """Returns the published models, a line each, without the columns that do not fit the terminal."""
    from converters.text import terminal_width

    columns = {
        "name": [info.name for info in infos],
        "multiplier": [f"{info.depth_multiplier:g}" for info in infos],
        "size": [f"{info.image_size}{'' if info.fixed_image_size else ' (any)'}" for info in infos],
        "features": [str(info.num_features) for info in infos],
        "parameters": [f"{info.parameters:,}" for info in infos],
        "MACs (M)": [f"{info.macs / 1e6:.1f}" for info in infos],
        "top-1 %": [f"{info.top1}" for info in infos],
        "top-5 %": [_top5(info) for info in infos],
    }
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    left_out = []
    # The least wanted first; most of these are in the name.
    for name in ("multiplier", "features", "top-5 %", "size", "MACs (M)", "parameters"):
        if sum(widths.values()) + 2 * (len(widths) - 1) <= terminal_width():
            break
        left_out.append(name)
        del widths[name]
    lines = [_line(row, widths) for row in [[*widths], *zip(*(columns[name] for name in widths), strict=True)]]
    if left_out:
        note = f"The terminal is too narrow for {', '.join(left_out)}; --json prints everything."
        lines += textwrap.wrap(note, terminal_width())
    return "\n".join(lines)


def _line(cells, widths) -> str:
    texts = (f"{cell:{'<' if name == 'name' else '>'}{widths[name]}}" for name, cell in zip(widths, cells, strict=True))
    return "  ".join(texts).rstrip()


def _top5(info):
    return "-" if info.top5 is None else f"{info.top5}"


def _options(info):
    """Returns the variant of a published model in words."""
    return [name if value is True else str(value) for name, value in info.options.items()]


@click.command("info", short_help="Print the facts of a model, or draw it.")
@click.argument("source", shell_complete=paths_and_names)
@click.option(
    "--plot",
    "-o",
    "--output",
    "plot",
    type=click.Path(path_type=pathlib.Path),
    help="Draw the network to a .png, .svg or .pdf file.  [no picture]",
)
@cache_option
@as_json
def info_command(source, plot, as_json):
    """Print the facts of SOURCE: a published model (name or hub handle), a .keras file, or anything that convert reads.

    For a published model: image size, parameters, multiply-adds, accuracy, and its URLs. For a .keras file, which is
    compared with the manifest next to it if there is one: layers, parameters, multiply-adds and the published number of
    them, receptive field, and memory for one image. For a checkpoint or another source: network, multiplier, classes,
    averages, steps, optimizer, and whether it is a published file. A path that exists goes before a published name.
    A picture (--plot) needs mobilenets[plots].
    """
    from converters.inspection.plot_path import check_plot
    from converters.sources import check_there, is_path

    if plot:
        check_plot(plot)  # before TensorFlow is loaded
    if source.endswith(".keras"):
        check_there(source)
        facts, shown = _of_file(source, plot)
    elif is_path(source) or source.startswith("hf://"):
        if plot:
            raise click.UsageError("--plot draws a published model or a .keras file; convert SOURCE first.")
        facts, shown = _of_source(source)
    else:
        info = _published(source)
        facts, shown = info.to_dict(), _published_readable(info)
        if plot:
            _draw_published(facts["name"], plot)
    from converters.text import facts_text

    echo(json.dumps(facts, indent=1) if as_json else facts_text(shown))


def _published(name: str) -> mobilenets.ModelInfo:
    try:
        return mobilenets.get_model_info(name)
    except ValueError as error:
        raise UnusableInput(f"{name} does not exist, and is not the name of a published model. {error}") from error


def _of_source(path: str) -> tuple[dict, dict]:
    """Returns the facts of a checkpoint or another source as JSON values, and as people read them."""
    from converters.sources import find_source

    with display_on_stderr() as display:
        load_keras(display)
        from converters.inspection.source_facts import readable, source_facts

        display.step(f"Reading {path}")
        facts = source_facts(find_source(path, display.downloaded))
    return facts, readable(facts)


def _of_file(path: str, plot: pathlib.Path | None) -> tuple[dict, dict]:
    """Returns the facts of a file as JSON values, and as people read them."""
    with display_on_stderr() as display:
        load_keras(display)
        from converters.image_sizes import image_size_of
        from converters.inspection.measures import model_facts
        from converters.inspection.network_plot import plot_network
        from converters.keras_file import load_checked_model

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
    """Returns the published model of that name, if there is one."""
    with contextlib.suppress(ValueError):
        return mobilenets.get_model_info(name)
    return None


def _draw_published(name: str, plot: pathlib.Path) -> None:
    with display_on_stderr() as display:
        load_keras(display)
        from converters.inspection.network_plot import plot_network

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
        "checkpoint": info.checkpoint_path,
        "archive": info.checkpoint_url,
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
