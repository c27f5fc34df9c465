"""The curves of training runs, drawn from the tables that the runs wrote."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from avel_cli.evaluation import plots
from avel_cli.training.record import read

OTHERS = ("step", "lr", "seconds")  # columns that are no terms of a loss, beside the score


def draw(tables: Mapping[int, Path], select: str, path: Path, unit: str) -> None:
    """Draw the terms of the loss of the first seed, a point for each score, and the scores of every seed.

    Args:
        tables: of the runs, by seed.
        select: the split that scores were taken on.
        path: of the picture.
        unit: what scores are.
    """
    rows = {seed: read(table) for seed, table in tables.items()}
    first = next(iter(rows.values()))
    scored = next(name for name in first[0] if name.startswith("score"))
    scores = {
        f"{select}, seed {seed}": [(int(row["step"]), float(row[scored])) for row in run if row[scored]]
        for seed, run in rows.items()
    }
    ends = [step for step, _ in next(iter(scores.values()))]
    losses = {name: _between(first, name, ends) for name in first[0] if name not in (*OTHERS, scored)}
    plots.training_curves(losses, scores, path, unit)


def _between(rows: Sequence[Mapping[str, str]], name: str, ends: Sequence[int]) -> list[tuple[float, float]]:
    """The mean of a column from one score to the next, at the step of the latter."""
    starts = [0, *ends[:-1]]
    return [
        (end, statistics.mean(float(row[name]) for row in rows[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]
