"""`avel recipes`: which there are, and what one comes to."""

from __future__ import annotations

import click

from avel_cli import recipes as shipped
from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.training.defaults import defaults


@click.group(invoke_without_command=True, short_help="List and show recipes.")
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List the recipes that ship; `show` prints one with everything that it is based on.

    \b
    avel recipes
    avel recipes show cace-net.ave-weak --set schedule.lr=1e-3
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(listed)


@recipes.command("list")
@options.verbosity
@click.pass_obj
def listed(console: Console, /) -> None:
    """List the recipes that ship."""
    of = {name: f"{dataset} {model}" for (dataset, model), name in defaults().items()}
    rows = []
    for name in shipped.shipped():
        kind, values = shipped.read(name)
        rows.append([name, kind, of.get(name, ""), str(values.get("description", ""))])
    console.table(["recipe", "kind", "default of", "description"], rows)


@recipes.command()
@click.argument("name")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change the recipe, e.g. schedule.lr=1e-3.")
@options.verbosity
@click.pass_obj
def show(console: Console, /, name: str, changes: tuple[str, ...]) -> None:
    """Print the recipe NAME, or a file, as TOML: with its base, every default and every change."""
    from avel_cli.training import resolved

    console.result_stream().write(resolved.to_toml(name, changes))
