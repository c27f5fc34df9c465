"""`avel models`: what can be detected, with which weights, how well and under which licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console

if TYPE_CHECKING:
    from avel_cli.hub.catalogue import Asset
    from avel_cli.hub.registry import ModelCard


@click.group(invoke_without_command=True, short_help="List the models; show one with its labels and licence.")
@options.verbosity
@click.pass_context
def models(ctx: click.Context) -> None:
    """List the models by name.

    \b
    avel models show cace-net.starter    labels, licence, figures
    avel download cace-net.ave           fetch published weights
    """
    from avel_cli.hub import registry
    from avel_cli.words import OFFLINE

    if ctx.invoked_subcommand is None:
        rows = [
            [
                card.name,
                str(len(card.labels)),
                size(card),
                "no" if card.missing else "yes",
                card.licence,
                card.description,
            ]
            for card in registry.models()
        ]
        console = ctx.ensure_object(Console)
        console.table(["model", "labels", "size", "at hand", "licence", "description"], rows)
        names = ", ".join((OFFLINE, *registry.catalogue().repositories))
        if rows:
            console.say(f"for words of your own, avel detect --words PHRASE: {names}")


@models.command()
@click.argument("name")
@options.verbosity
@click.pass_obj
def show(console: Console, name: str) -> None:
    """Show the facts of the model NAME."""
    from avel_cli.hub import registry

    card = registry.model(name)
    facts = {
        "model": card.name,
        "description": card.description,
        "localizer": card.localizer,
        "encoders": ", ".join(card.encoders),
        "labels": "; ".join(card.labels),
        "grid": ", ".join(f"{name} {seconds:g} s" for name, seconds in card.grid.items()),
        "size": size(card),
        "at hand": at_hand(card),
        "licence": card.licence,
        **{name: str(figure) for name, figure in card.figures.items()},
        **{f"needs {asset.name}": facts_of(asset) for asset in card.assets},
        "card": str(card.card),
    }
    console.facts(facts)


def size(card: ModelCard) -> str:
    """The size of the weights and of their encoders, in MB; rounded while some of them are still to be fetched."""
    return f"about {card.size_bytes / 1e6:.0f} MB" if card.missing else f"{card.size_bytes / 1e6:.1f} MB"


def at_hand(card: ModelCard) -> str:
    """Whether the weights are on this machine, or how to get them."""
    from avel_cli.hub.catalogue import size_text

    if not card.missing:
        return "yes"
    names = ", ".join(asset.name for asset in card.missing)
    return f"no, {names} ({size_text(card.missing)}) are missing: avel download {card.name}"


def facts_of(asset: Asset) -> str:
    """What is known of a published file."""
    places = ", or ".join(source.place for source in asset.sources)
    facts = [f"{asset.title}; {asset.size_text} from {places}", f"licence: {asset.licence}", asset.citation, asset.note]
    return "; ".join(filter(None, facts))
