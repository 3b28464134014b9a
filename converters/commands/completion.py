"""What a shell completes: paths, and names of published models."""

import click
from click.shell_completion import CompletionItem

import mobilenets


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns the names of published models that begin like the word."""
    return [CompletionItem(name) for name in mobilenets.list_models() if name.startswith(incomplete)]


def paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leaves the word to the shell, which completes paths."""
    return [CompletionItem(incomplete, type="file")]


def paths_and_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns both; paths come first, because bash forgets the words before them."""
    return paths(ctx, param, incomplete) + model_names(ctx, param, incomplete)
