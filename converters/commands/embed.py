"""The command ``mobilenets embed``."""

import json
import pathlib
import sys

import click

from converters.commands.completion import paths, paths_and_names
from converters.commands.console import as_json, cache_option, echo, load_keras
from converters.commands.display import display_on_stderr
from converters.commands.images import (
    batch_size_option,
    image_paths,
    image_size_option,
    list_option,
    open_model,
    print_broken,
    print_note,
    print_skipped,
    runtime_option,
    upright_option,
)
from converters.commands.quiet import native_stderr_if_it_fails
from converters.sources import check_there


@click.command("embed", short_help="Write the feature vectors of images to a file.")
@click.argument("model", shell_complete=paths_and_names)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=paths)
@list_option
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=pathlib.Path), help="The .parquet or .npz file to write."
)
@click.option("--force", is_flag=True, help="Replace OUTPUT, and the parts of another job for it.")
@image_size_option
@batch_size_option
@runtime_option
@upright_option
@cache_option
@as_json
def embed_command(model, images, lists, output, force, image_size, batch_size, runtime, upright, as_json):
    """Write the feature vectors of images to a file.

    MODEL is a .keras file, a checkpoint, or the name of a published model, which is downloaded. IMAGE is a file, a
    folder, or a glob in quotes. If interrupted, run the same command again and it resumes: finished parts are kept in
    OUTPUT.parts until OUTPUT is complete. Images that cannot be read are skipped: the reasons and their number are
    printed, and the exit status is 1. If no image can be read, no file is written, and it is 2.
    """
    check_there(model)
    paths = image_paths(images, lists)
    from converters.images.features_path import check_features_path

    check_features_path(output)  # before TensorFlow is loaded
    with display_on_stderr() as display:
        from converters.images.kept_embedder import find_embedder, keep_embedder

        display.step(f"Opening {model}")
        kept = find_embedder(model, image_size, runtime, paths, upright, display.downloaded)
        opened = None
        if kept is None:
            load_keras(display)
            opened = open_model(display, model, image_size, runtime)
        import converters

        display.step("Embedding")
        with native_stderr_if_it_fails():  # of the runtimes
            result = converters.embed(
                kept or opened,
                paths,
                output,
                batch_size=batch_size,
                force=force,
                progress=display.images,
                note=print_note,
                upright=upright,
            )
            if opened is not None and result.count > result.resumed:
                keep_embedder(opened, image_size, paths, upright)
    skipped = print_skipped(paths)
    print_broken(result.broken)
    facts = {
        "output": str(result.output),
        "images": result.count,
        "features": result.num_features,
        "broken": len(result.broken),
        "done_by_an_earlier_run": result.resumed,
    }
    if as_json:
        broken = [entry._asdict() for entry in result.broken]
        echo(json.dumps(facts | {"broken": broken, "other_files": skipped}, indent=1))
    else:
        from converters.text import facts_text

        echo(facts_text(facts))
    sys.exit(1 if result.broken else 0)
