"""Which weights exist, what is known of them, and where they lie. Imports no torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avel_cli import checkpoint
from avel_cli.errors import ModelError

DEFAULT = "cace-net.starter"


@dataclass(frozen=True)
class ModelCard:
    """Facts about one set of localizer weights, read from the header of its file.

    `size_bytes` counts the encoders it needs too; `card` is the Markdown page that goes with it.
    """

    name: str
    localizer: str
    description: str
    labels: tuple[str, ...]
    licence: str
    size_bytes: int
    encoders: tuple[str, ...]
    grid: dict[str, float]
    figures: dict[str, Any]
    path: Path
    card: Path


def folder() -> Path:
    """Where the weights that ship with avel lie: inside the package, or beside it in a source checkout."""
    installed = Path(__file__).parent / "weights"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "weights"


def encoder_file(name: str) -> Path:
    """The weights of an encoder.

    Raises:
        ModelError: if they are not at hand.
    """
    path = folder() / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(f'weights of encoder "{name}" are not at hand: {path} is missing; install avel again')
    return path


def _card(path: Path, header: dict[str, Any]) -> ModelCard:
    encoders = tuple(header["encoders"])
    size = path.stat().st_size + sum(encoder_file(name).stat().st_size for name in encoders)
    return ModelCard(
        name=header["name"],
        localizer=header["network"],
        description=header["description"],
        labels=tuple(header["labels"]),
        licence=header["licence"],
        size_bytes=size,
        encoders=encoders,
        grid=header["grid"],
        figures=header["figures"],
        path=path,
        card=path.with_suffix(".md"),
    )


def models() -> list[ModelCard]:
    """Every localizer whose weights are on this machine, by name."""
    files = sorted(folder().glob("*.safetensors"))
    headers = [(path, checkpoint.read_header(path)) for path in files]
    return [_card(path, header) for path, header in headers if header["kind"] == "localizer"]


def model(name: str) -> ModelCard:
    """The card of the model called `name`; `auto` is the strongest at hand.

    Raises:
        ModelError: if there is no such model; the text names the closest one.
    """
    wanted = DEFAULT if name == "auto" else name
    known = {found.name: found for found in models()}
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise ModelError(f'unknown model "{wanted}"; {hint}see: avel models')
    return known[wanted]
