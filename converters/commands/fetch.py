"""The command ``mobilenets fetch``."""

import json
import pathlib

import click

import checkpoints
import mobilenets
from converters.commands.completion import model_names
from converters.commands.console import allow_unpinned, as_json, echo
from converters.commands.display import display_on_stderr


@click.command("fetch", short_help="Fetch the archives of published models.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=model_names)
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)), help="All models of a family.  [none]")
@click.option("--all", "everything", is_flag=True, help="All published models.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="The folder that keeps the files.  [MOBILENETS_CACHE, or the platform's folder for caches]",
)
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, path_type=pathlib.Path),
    help="Adopt the archives in this file, folder or disk: those with a pinned sha256 enter the cache.  [download]",
)
@allow_unpinned
@as_json
def fetch_command(names, family, everything, cache, folder, allow_unpinned, as_json):
    """Fetch the archives of published models and print their paths.

    NAME is a published model, the handle of a hub module, or the URL of any file. A model is looked for in the cache,
    in the folders and URLs of MOBILENETS_MIRRORS, at its published URLs, as a hub module, and in Google's repositories
    on the Hugging Face Hub; its archive must have the pinned sha256. If a download is interrupted, run the same command
    again and it resumes. If one fails, the others continue, and the exit status is 2. With --from nothing is
    downloaded; without NAME all models are adopted.
    """
    models = _selection(names, family, everything)
    if folder:
        fetched, failed = _adopted(folder, models, cache), []
    elif models:
        fetched, failed = _fetched(models, cache, allow_unpinned, as_json)
    else:
        raise click.UsageError("Name a model, or give --family, --all or --from.")
    if as_json:
        facts = [file | {"sha256": file["bytes"] and checkpoints.sha256(file["path"])} for file in fetched]
        echo(json.dumps(facts, indent=1))
    elif folder:
        for file in fetched:
            echo(file["path"])
    if failed and len(models) > 1:
        echo(f"{len(failed)} of {len(models)} could not be fetched: {', '.join(failed)}.", err=True)
    if failed:
        click.get_current_context().exit(2)


def _fetched(models: list[str], cache, allow_unpinned: bool, as_json: bool) -> tuple[list[dict], list[str]]:
    """Returns what was fetched, and the names of what was not."""
    fetched, failed = [], []
    for name in models:
        try:
            with display_on_stderr() as display:
                display.step(name)
                file = checkpoints.fetched(
                    name, cache=cache, progress=display.downloaded, allow_unpinned=allow_unpinned
                )
        except checkpoints.DownloadError as error:
            echo(f"Error: {error}", err=True)
            failed.append(name)
            continue
        if not as_json:
            echo(file.path)
        fetched.append(_facts(name, file.origin, file.path))
    return fetched, failed


def _adopted(folder: pathlib.Path, models: list[str], cache) -> list[dict]:
    with display_on_stderr() as display:
        display.step(f"Looking for archives in {folder}")
        adopted = checkpoints.adopt(folder, cache=cache, models=models or None, progress=display.step)
    return [_facts(entry.model, str(entry.origin), entry.path) for entry in adopted]


def _facts(name: str, origin: str, path: pathlib.Path) -> dict:
    return {"name": name, "url": origin, "path": str(path), "bytes": path.stat().st_size if path.is_file() else None}


def _selection(names: tuple[str, ...], family: str | None, everything: bool) -> list[str]:
    """Returns what to fetch, each once: the name of a model, the path of a module, or a URL."""
    listed = mobilenets.list_models(None if everything else family) if everything or family else []
    models = []
    for name in (*names, *listed):
        try:
            models.append(mobilenets.module_path(name) or mobilenets.get_model_info(name).name)
        except ValueError:
            if "://" not in name or "tfhub.dev" in name:
                raise
            models.append(name)
    return list(dict.fromkeys(models))
