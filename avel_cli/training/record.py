"""What a training run says of its steps: a table in CSV, and curves for TensorBoard where that is installed."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from avel_cli.writers.files import atomic_write


class Record:
    """One row a step with `step`, `loss`, its terms, `lr`, `seconds`, and the score where there is one.

    Rows are written with the checkpoint that they belong to, so that a resumed run goes on where its table ends.
    """

    def __init__(self, folder: Path, name: str, first: int, *, scored: str = "") -> None:
        """Go on after step `first` (rows beyond it are dropped); 0 begins a new table.

        `scored` is the column of the score and its name in TensorBoard, empty without one.
        """
        self.path, self._scored = folder / f"{name}.csv", scored
        self._rows: list[tuple[int, dict[str, Tensor], float, float]] = []
        self._began = time.monotonic()
        self._curves = _curves(folder / "tensorboard" / name, first)
        kept = read(self.path) if first and self.path.is_file() else []
        if kept := [row for row in kept if int(row["step"]) <= first]:
            with atomic_write(self.path) as stream:
                _write(stream, kept, header=True)
        else:
            self.path.unlink(missing_ok=True)

    def add(self, step: int, terms: Mapping[str, Tensor], rate: float) -> None:
        """Take in one step, counted from 1, without waiting for its numbers."""
        values = {name: value.detach() for name, value in terms.items()}
        self._rows.append((step, values, rate, time.monotonic() - self._began))

    def mean(self) -> float:
        """The mean loss of the steps taken in since the last flush."""
        return float(torch.stack([terms["total"] for _, terms, _, _ in self._rows]).mean())

    def flush(self, score: float | None) -> float:
        """Write what was taken in, the score with the last step; gives the mean loss of these steps."""
        rows = []
        for step, terms, rate, seconds in self._rows:
            values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
            row: dict[str, Any] = {"step": step, "loss": f"{values['total']:.5f}"}
            row |= {name: f"{value:.5f}" for name, value in values.items() if name != "total"}
            row |= {"lr": f"{rate:.3g}", "seconds": f"{seconds:.1f}"}
            rows.append(row | ({self._scored: ""} if self._scored else {}))
            for name, value in {**values, "lr": rate}.items() if self._curves else ():
                self._curves.add_scalar(name, value, step)
        mean = sum(float(row["loss"]) for row in rows) / len(rows)
        if score is not None:
            rows[-1][self._scored] = f"{score:.4f}"
            if self._curves:
                self._curves.add_scalar(self._scored, score, rows[-1]["step"])
        if self._curves:
            self._curves.flush()
        header = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            _write(stream, rows, header=header)
        self._rows.clear()
        return mean

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        if self._curves:
            self._curves.close()


def _write(stream: TextIO, rows: Sequence[Mapping[str, Any]], *, header: bool) -> None:
    writer = csv.DictWriter(stream, list(rows[0]))
    if header:
        writer.writeheader()
    writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a run's table."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _curves(folder: Path, first: int) -> Any:
    """TensorBoard's writer, or None without it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first + 1 if first else None)
