"""`avel download` of data sets: what can be fetched by a program, and what is still to be got by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from avel_cli.cli.console import Console
from avel_cli.datasets import DATASETS, dataset
from avel_cli.hub import downloads, registry
from avel_cli.hub.catalogue import Asset
from avel_cli.writers.files import atomic_path, make_folder

NAMED = 5  # files of the Hub's repository that are named


def fetchable(name: str) -> bool:
    """Whether something of this data set can be fetched."""
    return name in DATASETS and bool(dataset(name).asset)


def missing(names: Iterable[str], folder: Path | None) -> list[Asset]:
    """What is not in its folder yet."""
    return [registry.catalogue().assets[name] for name in names if not _target(name, folder).is_file()]


def row(name: str, folder: Path | None) -> list[str]:
    """A row for `--dry-run`; opens no connection."""
    return registry.catalogue().assets[name].row(at_hand=not missing([name], folder))


def fetch(console: Console, name: str, folder: Path | None) -> None:
    """Put the annotations of a data set into its folder, and say what training still lacks.

    Args:
        console: gets the findings as a table.
        name: of the data set.
        folder: for it; None for one in the cache.

    Raises:
        ModelError: if no source has the file as it was published.
    """
    target, asset = _target(name, folder), registry.catalogue().assets[name]
    make_folder(target.parent)
    with console.download(name) as listener:
        path = registry.fetch(asset, listener=listener, then=f"put {target.name} into {target.parent}")
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
    console.say(f"{target}: licence {asset.licence}; please cite {asset.citation}")
    for source in asset.sources:
        if source.repo and (files := downloads.files_beside(source)):
            first = ", ".join(files[:NAMED]) + (", …" if len(files) > NAMED else "")
            console.say(f"{source.place} holds {len(files)} files, of which avel uses the annotations alone: {first}")
    look = dataset(name).check
    findings = look(target.parent) if look else []
    lines = [[finding.name, finding.state, finding.detail, finding.remedy] for finding in findings]
    console.table(["what", "state", "detail", "what to do"], lines, title=f"{name} in {target.parent}")
    console.say(f"once the rest is there: avel data check {name} {target.parent}")


def _target(name: str, folder: Path | None) -> Path:
    return (folder or registry.cache() / "datasets" / name) / dataset(name).file
