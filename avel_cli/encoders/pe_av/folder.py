"""Folders with a PE-AV as the Hub has them: which they are, and what they may ask for. Imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avel_cli.errors import ModelError

KIND = "pe_audio_video"
LARGEST_CONFIG = 1 << 20
LARGEST, MOST_LAYERS = 1 << 20, 128  # of a size, and of a tower
TOWER = re.compile(r"vit_pe_core_\w+")  # timm's names of PE's vision towers; others may be addresses
# What timm would read files or open connections for.
FORBIDDEN = ("pretrained", "checkpoint", "cache", "file", "path", "url", "hub")


def is_folder(path: Path) -> bool:
    """Whether a folder holds a PE-AV."""
    try:
        return path.is_dir() and read_config(path).get("model_type") == KIND
    except ModelError:
        return False


def read_config(folder: Path) -> dict[str, Any]:
    """The table in its config.json.

    Raises:
        ModelError: if there is none.
    """
    path = folder / "config.json"
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
            raise ValueError("config.json is missing, or too large")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("config.json holds no table")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}: no PE-AV: {error}") from None
    return config


def check(config: Any) -> None:
    """Refuse what would make a library run code, fetch something, or read a file that is not in the folder.

    Raises:
        ModelError: if there is such a thing.
    """
    for key, value in _nodes(config):
        if key == "model_args":  # what timm builds the vision tower with
            bad = [name for name in value or () if any(word in str(name).lower() for word in FORBIDDEN)]
        else:
            bad = [key] if key == "auto_map" or (key == "architecture" and not TOWER.fullmatch(str(value))) else []
        if isinstance(value, int) and not isinstance(value, bool) and "token" not in key:
            bad = [key] if abs(value) > (MOST_LAYERS if key in ("num_hidden_layers", "depth") else LARGEST) else bad
        if bad:
            raise ModelError(f"config.json asks for {bad[0]} = {str(value)[:80]}, which is no part of a PE-AV")


def _nodes(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values in nested tables and lists."""
    parts = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield from value.items()
        parts = list(value.values())
    for part in parts:
        yield from _nodes(part)
