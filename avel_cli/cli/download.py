"""`avel download`: published weights, fetched and made ready before they are needed; and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import UsageError

if TYPE_CHECKING:
    from avel_cli.hub.catalogue import Asset


WORDS = "words.pe-av-small"


@click.command(short_help="Fetch published weights, and annotations of data sets.")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what is needed, where it is and how large; open no connection.")
@click.option(
    "-o",
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for a data set.  [default: one in the cache]",
)
@options.weights
@options.verbosity
@click.pass_obj
def download(
    console: Console, /, names: Sequence[str], dry_run: bool, to: Path | None, weights: dict[str, Path]
) -> None:
    """Fetch published weights and convert them once; fetch what can be had of a data set.

    NAME is a model, which brings its encoders, or an encoder; cace-net means cace-net.ave, everyday
    cace-net.everyday. Weights lie in $AVEL_CACHE
    or the user's folder for caches; what comes from the Hugging Face Hub passes through its own cache ($HF_HOME).
    words means words.pe-av-small, which takes words of your own: a repository that transformers reads as it is.
    Of the data set unav100 the annotations are fetched, and it is said what must be got by hand.
    """
    from avel_cli.cli import download_data
    from avel_cli.hub import registry, snapshots
    from avel_cli.hub.catalogue import size_text

    datasets = [name for name in names if download_data.fetchable(name)]
    repositories = registry.catalogue().repositories
    whole = [name for name in (WORDS if name == "words" else name for name in names) if name in repositories]
    wanted = [_of_family(name) for name in names if name not in (*datasets, *whole, "words")]
    if to and not datasets:
        raise UsageError("--to is for data sets; weights go to AVEL_CACHE")
    parts = registry.with_encoders(wanted)
    if dry_run:
        rows = _rows(parts) + [download_data.row(name, to) for name in datasets] + list(map(_repository_row, whole))
        console.table(["part", "from", "size", "licence", "at hand"], rows)
        missing = (*registry.missing(parts), *download_data.missing(datasets, to))
        unknown = [name for name in whole if snapshots.folder(repositories[name]) is None]
        told = [*([size_text(missing)] if missing else []), *unknown]
        console.say(f"to fetch: {', and '.join(told)}" if told else "nothing to fetch")
        return
    for name in datasets:
        download_data.fetch(console, name, to)
    for name in whole:
        _fetch_repository(console, name)
    if not wanted:
        return
    files = options.named(weights, wanted)
    from avel_cli.published import prepare  # loads torch

    prepare(wanted, files=files, say=console.say, watch=console.download)
    for asset in _assets(parts):
        console.say(f"{asset.name}: licence {asset.licence}; please cite {asset.citation}")
    console.say(f"ready: {', '.join(wanted)}")


def _fetch_repository(console: Console, name: str) -> None:
    from avel_cli.hub import registry, snapshots

    entry = registry.catalogue().repositories[name]
    snapshots.fetch(entry, say=console.say, watch=console.download)
    console.say(f"{name}: licence {entry.licence}; please cite {entry.citation}")
    console.say(f"{name}: {entry.note}")
    console.say(f"ready: avel detect FILE -m {name} --words PHRASE; needs pip install 'avel[{entry.extra}]'")


def _repository_row(name: str) -> list[str]:
    from avel_cli.hub import registry, snapshots

    entry = registry.catalogue().repositories[name]
    at_hand = "yes" if snapshots.folder(entry) else "no"
    return [name, f"huggingface.co/{entry.repo}", "asked when it is fetched", entry.licence, at_hand]


def _of_family(name: str) -> str:
    """The model that is meant by the name of a localizer, or by the second half of its own; any other name as it is."""
    from avel_cli.hub import registry

    if any(found.name == f"cace-net.{name}" for found in registry.models()) and name not in registry.catalogue().models:
        return f"cace-net.{name}"
    return next((model for model, entry in registry.catalogue().models.items() if entry.localizer == name), name)


def _assets(parts: Sequence[str]) -> list[Asset]:
    from avel_cli.hub import registry

    return list(dict.fromkeys(asset for part in parts for asset in registry.catalogue().made_of(part)))


def _rows(parts: Sequence[str]) -> list[list[str]]:
    """A row for each asset, and for each part that ships."""
    from avel_cli.hub import registry

    missing = registry.missing(parts)
    shipped = [[part, "ships with avel", "", "", "yes"] for part in parts if not registry.catalogue().made_of(part)]
    return shipped + [asset.row(at_hand=asset not in missing) for asset in _assets(parts)]
