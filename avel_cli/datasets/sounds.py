"""Unlabelled sound for distillation: a folder of `sounds.raw` and `sounds.csv`, read where it lies.

`sounds.raw` holds int16 samples at 32 kHz, mono, file after file; `sounds.csv` names each: `offset`, `length` (both in
samples), `source`, `path`, `licence_class`. Neighbours come from one source, so a window may run from a short file
into the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from avel_cli.errors import SetupError

RATE = 32000
COLUMNS = ("offset", "length", "source", "licence_class")
ALONE = 0.25  # part of the windows with silence around a file instead of its neighbours


class SoundCorpus:
    """Windows of unlabelled sound, drawn so that each source counts by the square root of its hours.

    Args:
        folders: each with its two files.
        classes: licence classes to draw from; empty draws from all.
        weights: factors of single sources.

    Raises:
        SetupError: if a file is missing, the table lacks a column or names samples that are not there, or nothing is
            left to draw from.
    """

    def __init__(self, folders: Sequence[Path], classes: Sequence[str] = (), weights: Mapping[str, float] = {}) -> None:
        tables = [_table(folder) for folder in folders]
        self._samples = [np.memmap(folder / "sounds.raw", "<i2", "r") for folder in folders]
        for number, (table, samples) in enumerate(zip(tables, self._samples, strict=True)):
            if (table.offset < 0).any() or (table.offset + table.length > len(samples)).any():
                raise SetupError(f"{folders[number]}: sounds.csv names samples that sounds.raw does not have")
            table["folder"] = number
        rows = pd.concat(tables, ignore_index=True)
        if classes:
            rows = rows[rows.licence_class.isin(classes)]
        rows = rows[rows.length > 0].reset_index(drop=True)
        if rows.empty:
            raise SetupError(f"{', '.join(map(str, folders))}: no sound of the licence classes {', '.join(classes)}")
        hours = rows.groupby("source").length.sum() / RATE / 3600
        share = hours**0.5 * [weights.get(source, 1.0) for source in hours.index]
        self.sources = {source: float(hours[source]) for source in hours.index}
        self._rows = rows
        self._weights = torch.tensor(
            (rows.length / 3600 / RATE / rows.source.map(hours) * rows.source.map(share)).values
        )
        self.digest = hashlib.sha256(rows.to_csv(columns=list(COLUMNS)).encode()).hexdigest()

    def draw(self, count: int, samples: int, rng: Generator) -> Tensor:
        """Windows float32 `[count, samples]` in -1..1."""
        index = torch.multinomial(self._weights, count, replacement=True, generator=rng)
        places, alone = torch.rand(count, generator=rng), torch.rand(count, generator=rng) < ALONE
        windows = np.zeros((count, samples), np.float32)
        columns = (self._rows[name].to_numpy() for name in ("offset", "length", "folder"))
        offsets, lengths, folders = (column[index.numpy()] for column in columns)
        for row, place, own, offset, length, folder in zip(
            windows, places.tolist(), alone.tolist(), offsets, lengths, folders, strict=True
        ):
            # At least half of the window, or half of the file, is of the file that was drawn.
            margin = min(samples, length) // 2
            first = int(offset - samples + margin + place * (length + samples - 2 * margin))
            begin, end = (offset, offset + length) if own else (0, len(self._samples[folder]))
            low, high = max(first, begin), min(first + samples, end)
            row[low - first : high - first] = self._samples[folder][low:high]
        return torch.from_numpy(windows / 32768.0)


def _table(folder: Path) -> pd.DataFrame:
    path = folder / "sounds.csv"
    if not path.is_file() or not (folder / "sounds.raw").is_file():
        raise SetupError(f"{folder}: no sounds.csv and sounds.raw there")
    table = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise SetupError(f"{path}: column {missing[0]} is missing")
    return table
