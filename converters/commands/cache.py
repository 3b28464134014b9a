"""The commands ``mobilenets cache list | verify | remove``."""

import json
import pathlib

import click

import checkpoints
from converters.commands.completion import model_names
from converters.commands.console import as_json, echo
from converters.commands.display import display_on_stderr

folder_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="The folder that keeps the files.  [MOBILENETS_CACHE, or the platform's folder for caches]",
)


@click.group("cache", short_help="List, verify or remove the fetched files.")
def cache_command():
    """List, verify or remove the files that were fetched."""


@cache_command.command("list")
@folder_option
@as_json
def list_cached(cache, as_json):
    """List the files: name, size, origin, and what is known of the sha256.

    "pinned" is the sha256 that the published archive has; "trusted on first use" is compared with the first download.
    """
    echo(_text(checkpoints.cached_files(cache), as_json, cache))


@cache_command.command("verify")
@folder_option
@as_json
def verify_cached(cache, as_json):
    """Compute the sha256 of every file and compare it with the recorded one; the exit status is 1 if one differs."""
    with display_on_stderr() as display:
        display.step("Computing the sha256 of every file")
        files = checkpoints.cached_files(cache, verify=True)
    echo(_text(files, as_json, cache))
    changed = [str(file.path) for file in files if file.state == "changed"]
    if changed:
        echo(f"Changed since they were fetched: {', '.join(changed)}; remove and fetch them again.", err=True)
        click.get_current_context().exit(1)


@cache_command.command("remove")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=model_names)
@click.option("--all", "everything", is_flag=True, help="All files.")
@folder_option
def remove_cached(names, everything, cache):
    """Remove files and print their paths. NAME is a name or a path as `cache list` prints it, or the name of a file."""
    if everything:
        names = [str(file.path) for file in checkpoints.cached_files(cache)]
    elif not names:
        raise click.UsageError("Name a file, or give --all.")
    for path in checkpoints.remove_cached(names, cache):
        echo(path)


def _text(files, as_json: bool, cache) -> str:
    facts = [file._asdict() | {"path": str(file.path)} for file in files]
    if as_json:
        return json.dumps(facts, indent=1)
    if not files:
        return f"The cache {checkpoints.cache_folder(cache)} has no files."
    lines = []
    for file in facts:
        lines.append(f"{file['name']}  {file['bytes']:,} bytes  {file['state']}")
        lines += [f"  {what:7s} {file[what] or 'unknown'}" for what in ("path", "origin", "sha256")]
    return "\n".join(lines)
