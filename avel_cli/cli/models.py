"""`avel models`: what can be detected, with which weights, how well and under which licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console

if TYPE_CHECKING:
    from avel_cli.hub import ModelCard


@click.group(invoke_without_command=True, short_help="List the models; show one with its labels and licence.")
@options.verbosity
@click.pass_context
def models(ctx: click.Context) -> None:
    """List the models by name.

    \b
    avel models show cace-net.starter    labels, licence, figures
    """
    from avel_cli import hub

    if ctx.invoked_subcommand is None:
        rows = [
            [card.name, str(len(card.labels)), megabytes(card), card.licence, card.description] for card in hub.models()
        ]
        ctx.ensure_object(Console).table(["model", "labels", "size", "licence", "description"], rows)


@models.command()
@click.argument("name")
@options.verbosity
@click.pass_obj
def show(console: Console, name: str) -> None:
    """Show the facts of the model NAME."""
    from avel_cli import hub

    card = hub.model(name)
    facts = {
        "model": card.name,
        "description": card.description,
        "localizer": card.localizer,
        "encoders": ", ".join(card.encoders),
        "labels": ", ".join(card.labels),
        "grid": ", ".join(f"{name} {seconds:g} s" for name, seconds in card.grid.items()),
        "size": megabytes(card),
        "licence": card.licence,
        **{name: str(figure) for name, figure in card.figures.items()},
        "card": str(card.card),
    }
    console.facts(facts)


def megabytes(card: ModelCard) -> str:
    """The size of the weights, in MB."""
    return f"{card.size_bytes / 1e6:.1f} MB"
