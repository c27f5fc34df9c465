"""The curves of training runs, drawn from the tables that the runs wrote."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from avel_cli.metrics import plots
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
    scores = {f"{select}, seed {seed}": _scores(run) for seed, run in rows.items()}
    first = next(iter(rows.values()))
    ends = [step for step, _ in next(iter(scores.values()))]
    terms = [name for name in first[0] if name not in OTHERS and not name.startswith("score")]
    losses = {name: _between(first, name, ends) for name in terms}
    plots.training_curves(losses, scores, path, unit)


def _scores(rows: Sequence[Mapping[str, str]]) -> list[tuple[float, float]]:
    """Step and score of the rows that have one."""
    name = next(name for name in rows[0] if name.startswith("score"))
    return [(int(row["step"]), float(row[name])) for row in rows if row[name]]


def _between(rows: Sequence[Mapping[str, str]], name: str, ends: Sequence[float]) -> list[tuple[float, float]]:
    """The mean of a column from one score to the next, at the step of the latter; steps may be missing."""
    points: list[tuple[float, float]] = []
    for start, end in zip([0, *ends], ends, strict=False):
        if values := [float(row[name]) for row in rows if start < int(row["step"]) <= end]:
            points.append((end, statistics.mean(values)))
    return points
