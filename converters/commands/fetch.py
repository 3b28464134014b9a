"""The command ``mobilenets fetch``."""

import json
import pathlib

import click

import checkpoints
import mobilenets
from converters.commands.console import as_json
from converters.commands.display import display_on_stderr


@click.command("fetch", short_help="Download the archives of published models.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--family", type=click.Choice(list(mobilenets.SCOPES)), help="All models of a family.")
@click.option("--all", "everything", is_flag=True, help="All published models.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="The folder that keeps the files.  [MOBILENETS_CACHE, or the platform's folder for caches]",
)
@as_json
def fetch_command(names, family, everything, cache, as_json):
    """Download the archives of published models and print their paths.

    NAME is a published model, a hub handle, or the URL of any file. If a download is interrupted, run the same command
    again and it resumes. A file in the cache is checked against the sha256 of its first download. If one download
    fails, the others continue, and the exit status is 2.
    """
    urls = _urls(names, family, everything)
    if not urls:
        raise click.UsageError("Name a model, or give --family or --all.")
    fetched, failed = [], []
    for name, url in urls.items():
        try:
            with display_on_stderr() as display:
                display.step(name)
                path = checkpoints.fetch(url, cache=cache, progress=display.downloaded)
        except checkpoints.DownloadError as error:
            click.echo(f"Error: {error}", err=True)
            failed.append(name)
            continue
        if not as_json:
            click.echo(path)
        fetched.append({"name": name, "url": url, "path": str(path), "bytes": path.stat().st_size})
    if as_json:
        facts = [file | {"sha256": checkpoints.sha256(file["path"])} for file in fetched]
        click.echo(json.dumps(facts, indent=1))
    if failed and len(urls) > 1:
        click.echo(f"{len(failed)} of {len(urls)} could not be fetched: {', '.join(failed)}.", err=True)
    if failed:
        click.get_current_context().exit(2)


def _urls(names: tuple[str, ...], family: str | None, everything: bool) -> dict[str, str]:
    """Each model to download, once, and its URL."""
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
