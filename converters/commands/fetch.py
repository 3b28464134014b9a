"""The command ``mobilenets fetch``, and the bar that any command shows while it downloads."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator

import click
import lazy_loader
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from converters.commands.console import as_json

checkpoints = lazy_loader.load("checkpoints")
mobilenets = lazy_loader.load("mobilenets")


@click.command("fetch", short_help="Download the archives of published models.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)), help="All of a family.")
@click.option("--all", "everything", is_flag=True, help="All 39 published models.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="The folder that keeps the files.  [MOBILENETS_CACHE, or the platform's folder for caches]",
)
@as_json
def fetch_command(names, family, everything, cache, as_json):
    """Download the archives of published models and print their paths.

    NAME is a published model, a hub handle, or the URL of any file. A download that breaks off goes on where it
    stopped when the command is run again. What is there already is checked against the sha256 it had at first. Where
    one cannot be had, the others are fetched all the same, and the exit status is 2.
    """
    urls = _urls(names, family, everything)
    if not urls:
        raise click.UsageError("Name a model, or give --family or --all.")
    fetched, failed = [], []
    for name, url in urls.items():
        try:
            with download_bar(name) as progress:
                path = checkpoints.fetch(url, cache=cache, progress=progress)
        except checkpoints.DownloadError as error:
            click.echo(f"Error: {error}", err=True)
            failed.append(name)
            continue
        if not as_json:
            click.echo(path)
        fetched.append({"name": name, "url": url, "path": str(path), "bytes": path.stat().st_size})
    if as_json:
        found = [facts | {"sha256": checkpoints.sha256(facts["path"])} for facts in fetched]
        click.echo(json.dumps(found, indent=1))
    if failed and len(urls) > 1:
        click.echo(f"{len(failed)} of {len(urls)} could not be fetched: {', '.join(failed)}.", err=True)
    if failed:
        click.get_current_context().exit(2)


@contextlib.contextmanager
def download_bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give a callback for `checkpoints.fetch` that shows a bar on standard error; silent where nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _urls(names: tuple[str, ...], family: str | None, everything: bool) -> dict[str, str]:
    """Each model that is wanted, once, and its URL."""
    listed = mobilenets.list_models(None if everything else family) if everything or family else []
    urls = {}
    for name in (*names, *listed):
        try:
            info = mobilenets.get_model_info(name)
            urls[info.name] = info.checkpoint_url
        except ValueError:
            if "://" not in name or "tfhub.dev" in name:
                raise
            urls[name] = name
    return urls
