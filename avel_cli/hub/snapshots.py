"""Whole repositories of the Hub, for networks that other libraries read from a folder. Imports no torch.

Which files there are, their sizes and hashes are asked of the Hub; each is then fetched and checked like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path

from avel_cli.errors import ModelError
from avel_cli.hub import downloads, registry
from avel_cli.hub.catalogue import Repository

NEEDED = ("config.json", "tokenizer.json")
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
MOST_FILES = 64
INDEX = "model.safetensors.index.json"


def folder(entry: Repository) -> Path | None:
    """Where a repository lies in the cache of the Hub's client; None unless it is complete."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=entry.repo, repo_type="model") / "snapshots"
    return next((path for path in sorted(place.glob("*")) if _is_complete(path)), None)


def fetch(
    entry: Repository,
    *,
    say: Callable[[str], None],
    watch: Callable[[str], AbstractContextManager[downloads.Listener | None]],
) -> Path:
    """The folder of a repository, fetched where it is not complete.

    Args:
        entry: of the catalogue.
        say: is told what is fetched, how much and under which licence, before it starts.
        watch: makes a progress bar for each file.

    Raises:
        ModelError: if it cannot be had; the text says how to get it by hand.
    """
    if found := folder(entry):
        return found
    by_hand = f"By hand: hf download {entry.repo}, or -m with a folder that holds its files"
    try:
        sources = downloads.listed(entry.repo, (*NEEDED, *WEIGHTS), MOST_FILES)
        size = sum(source.size for source in sources)
        say(f"fetching {entry.repo} ({size / 1e9:.1f} GB, licence: {entry.licence}) from huggingface.co")
        for source in sources:
            with watch(source.file) as listener:
                downloads.fetch(source, registry.cache() / "downloads", listener=listener)
    except ModelError as error:
        raise ModelError(f"{entry.repo} cannot be fetched: {error}. {by_hand}") from None
    if found := folder(entry):
        return found
    raise ModelError(f"{entry.repo} holds no complete PE-AV. {by_hand}")


def _is_complete(path: Path) -> bool:
    """Whether all files are there, all parts of the weights among them."""
    if not all((path / name).is_file() for name in NEEDED):
        return False
    if (path / WEIGHTS[0]).is_file():
        return True
    try:
        parts = set(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(parts) and all(fnmatchcase(str(part), WEIGHTS[1]) and (path / str(part)).is_file() for part in parts)
