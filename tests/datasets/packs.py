"""Small packs of sounds and pictures, made here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import torch
from torchvision.io import write_jpeg

from avel_cli.datasets.composed import Label
from tests.conftest import run_ffmpeg

LABELS = {
    "high": Label(("Beep, bleep",), pictures=("red",), recordings=("high",)),
    "low": Label(("Hum",), pictures=("blue",), recordings=("low",)),
}
COLUMNS = ["path", "modality", "class", "split", "group", "original_id", "licence"]
SOUNDS = {"high": "sine=2000", "low": "sine=200", "_background": "anoisesrc=c=pink"}
COLOURS = {"red": (250, 20, 20), "blue": (20, 20, 250), "_background": (99, 99, 99)}


def make_pack(folder: Path, groups: Mapping[str, int]) -> Path:
    """A pack of two sounds and two colours, noise and grey as distractors, in so many groups of each split."""
    rows = []
    for name, source in SOUNDS.items():
        run_ffmpeg(folder / f"{name}.wav", "-f", "lavfi", "-i", f"{source}:d=3:r=16000")
        rows.append((f"{name}.wav", "sound", name))
    for name, colour in COLOURS.items():
        picture = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, 80, 120).contiguous()
        write_jpeg(picture, str(folder / f"{name}.jpg"))
        rows.append((f"{name}.jpg", "image", name))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for split, count in groups.items():
            for group in range(count):
                writer.writerows([*row, split, f"{row[2]}-{split}-{group}", row[2], "CC0"] for row in rows)
    return folder
