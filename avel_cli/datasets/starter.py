"""The starter packs: folders with a `manifest.csv` of unpaired sounds and pictures of everyday classes.

Rows keep the pack's own fine classes; which of them make up a label of the vocabulary is the recipe's business.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_image, read_file

from avel_cli.errors import SetupError
from avel_cli.hub import weights_file
from avel_cli.media.decode import read_audio
from avel_cli.media.probe import probe

BACKGROUND = "_background"


@dataclass(frozen=True)
class Recording:
    """One sound or picture file of a pack: where it lies, what it shows, which split and group it is in."""

    path: Path
    modality: str
    name: str
    split: str
    group: str
    original_id: str
    licence: str


def read_manifests(folders: Sequence[Path]) -> list[Recording]:
    """Every row of the `manifest.csv` of each folder, in file order.

    Raises:
        SetupError: if a folder has no manifest, or a manifest lacks a column.
    """
    rows: list[Recording] = []
    for folder in folders:
        manifest = folder / "manifest.csv"
        if not manifest.is_file():
            raise SetupError(f"{folder}: no manifest.csv there; give the folder of a starter pack with --data")
        with manifest.open(newline="", encoding="utf-8") as stream:
            try:
                rows += [_recording(folder, row) for row in csv.DictReader(stream)]
            except KeyError as missing:
                raise SetupError(f"{manifest}: column {missing} is missing; is this a starter pack?") from None
    if not rows:
        raise SetupError(f"{', '.join(map(str, folders))}: the manifests list nothing")
    return rows


def _recording(folder: Path, row: dict[str, str]) -> Recording:
    return Recording(
        folder / row["path"],
        row["modality"],
        row["class"],
        row["split"],
        row["group"],
        row["original_id"],
        row["licence"],
    )


def manifest_hash(folder: Path) -> str:
    """Tells one version of a pack from another."""
    return weights_file.sha256(folder / "manifest.csv")


def load_sounds(rows: Sequence[Recording], sample_rate: int) -> list[Tensor]:
    """Waves of the rows, each float32 `[samples]` in -1..1."""

    def load(row: Recording) -> Tensor:
        blocks = [torch.from_numpy(block) for block in read_audio(probe(row.path), sample_rate)]
        return torch.cat(blocks)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(load, rows))


def load_pictures(paths: Sequence[Path], size: int) -> Tensor:
    """Pictures as uint8 `[N, 3, size, size]` RGB, squeezed to a square whatever their aspect."""

    def load(path: Path) -> Tensor:
        try:
            picture: Tensor = decode_image(read_file(str(path)), ImageReadMode.RGB)
        except RuntimeError as error:
            raise SetupError(f"{path}: picture of the pack cannot be read: {error}") from None
        if picture.shape[-2:] == (size, size):
            return picture
        small = F.interpolate(picture.unsqueeze(0).float(), (size, size), mode="bilinear", antialias=True)
        rounded: Tensor = small[0].round().clamp(0, 255).to(torch.uint8)
        return rounded

    with ThreadPoolExecutor(4) as pool:
        return torch.stack(list(pool.map(load, paths)))
