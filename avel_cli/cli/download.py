"""`avel download`: published weights, fetched and made ready before they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console

if TYPE_CHECKING:
    from avel_cli.catalogue import Asset


@click.command(short_help="Fetch published weights.")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what is needed, where it is and how large; open no connection.")
@options.weights
@options.verbosity
@click.pass_obj
def download(console: Console, /, names: Sequence[str], dry_run: bool, weights: dict[str, Path]) -> None:
    """Fetch published weights and convert them once.

    NAME is a model, which brings its encoders, or an encoder; cace-net means cace-net.ave. Weights lie in $AVEL_CACHE
    or the user's folder for caches; what comes from the Hugging Face Hub passes through its own cache ($HF_HOME).
    """
    from avel_cli import hub
    from avel_cli.catalogue import size_text

    wanted = [_of_family(name) for name in names]
    parts = hub.with_encoders(wanted)
    if dry_run:
        console.table(["part", "from", "size", "licence", "at hand"], _rows(parts))
        missing = hub.missing(parts)
        console.say(f"to fetch: {size_text(missing)}" if missing else "nothing to fetch")
        return
    files = options.named(weights, wanted)
    from avel_cli.published import prepare  # loads torch

    prepare(wanted, files=files, say=console.say, watch=console.download)
    for asset in _assets(parts):
        console.say(f"{asset.name}: licence {asset.licence}; please cite {asset.citation}")
    console.say(f"ready: {', '.join(wanted)}")


def _of_family(name: str) -> str:
    """The first published model of a localizer, for the name of a localizer; any other name as it is."""
    from avel_cli import hub

    return next((model for model, entry in hub.catalogue().models.items() if entry.localizer == name), name)


def _assets(parts: Sequence[str]) -> list[Asset]:
    from avel_cli import hub

    return list(dict.fromkeys(asset for part in parts for asset in hub.catalogue().made_of(part)))


def _rows(parts: Sequence[str]) -> list[list[str]]:
    """A row for each asset, and for each part that ships."""
    from avel_cli import hub

    missing = hub.missing(parts)
    shipped = [[part, "ships with avel", "", "", "yes"] for part in parts if not hub.catalogue().made_of(part)]
    return shipped + [
        [
            asset.name,
            ", or ".join(source.place for source in asset.sources),
            asset.size_text,
            asset.licence,
            "no" if asset in missing else "yes",
        ]
        for asset in _assets(parts)
    ]
