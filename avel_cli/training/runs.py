"""Runs of a recipe: each seed is trained and measured, the best is written, and a report tells of all."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avel_cli import recipes
from avel_cli.datasets.base import Part
from avel_cli.metrics.report import Report, percent
from avel_cli.tasks import task_of
from avel_cli.tasks.base import Data, Figures
from avel_cli.training import curves
from avel_cli.training.processes import accelerator
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import Trained, save, train
from avel_cli.writers.files import atomic_write

HELD_OUT: tuple[Part, ...] = ("val", "test")


@dataclass(frozen=True)
class Run:
    """What one seed came to: the chosen epoch, and figures on the parts that were held out."""

    seed: int
    epoch: float
    figures: dict[Part, Figures]

    def to_dict(self) -> dict[str, Any]:
        """Scores and figures of the table, ready for JSON."""
        scores: dict[str, float] = {part: found.score for part, found in self.figures.items()}
        return {"seed": self.seed, "epoch": self.epoch, **scores, "figures": self.figures["test"].cells()}


def run(
    recipe: Recipe,
    data: Data,
    out: Path,
    *,
    seeds: int = 1,
    resume: bool = False,
    say: Callable[[str], None],
) -> Report | None:
    """Train with each seed and measure it; the weights of the best seed on the selecting part are written.

    Args:
        recipe: what to train, and how.
        data: what to learn from, and what to measure on.
        out: folder for weights, checkpoints, tables and pictures.
        seeds: how many, from the recipe's on.
        resume: go on from the last checkpoints.
        say: is told how each seed went.

    Returns:
        The report; None for all but the first of several processes, which writes.
    """
    if data.note:
        say(data.note)
    runs: list[Run] = []
    best: tuple[float, Trained, Run] | None = None
    for seed in range(recipe.seed, recipe.seed + seeds):
        trained = train(replace(recipe, seed=seed), data, out, score=_score(recipe, data), resume=resume)
        if not is_first():
            continue
        network = trained.network.to(accelerator().device)
        task = task_of(network)
        found = {part: task.figures(network, data, part) for part in HELD_OUT if part in data.parts}
        runs.append(Run(seed, trained.epoch, found))
        scores = ", ".join(f"{part} {figures.score:.2f}" for part, figures in found.items())
        say(f"seed {seed}: epoch {trained.epoch:.3g} ({recipe.selection}), {scores}")
        rank = -len(runs) if recipe.select == "last" else found[recipe.select].score
        if best is None or rank > best[0]:
            best = rank, trained, runs[-1]
    if best is None:
        return None
    return _write(recipe, data, runs, best[1], best[2], out)


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    first: bool = accelerator().is_main_process
    return first


def _score(recipe: Recipe, data: Data) -> Callable[[Any], float] | None:
    if recipe.select == "last":
        return None
    return lambda network: task_of(network).figures(network, data, recipe.select).score


def _write(recipe: Recipe, data: Data, runs: Sequence[Run], trained: Trained, chosen: Run, out: Path) -> Report:
    """Weights, figures and curves of the runs; the report is the table."""
    test = chosen.figures["test"]
    values = [run.figures["test"].score for run in runs]
    summary: dict[str, Any] = {
        f"test {test.unit.removesuffix(', %')}": round(test.score, 3),
        **{f"test {name}": round(value, 3) for name, value in test.cells().items()},
        "seeds": len(runs),
        "mean": round(statistics.mean(values), 3),
        "spread": round(statistics.stdev(values), 3) if len(values) > 1 else None,
        "best": round(max(values), 3),
        "chosen": chosen.seed,
        "selection": recipe.selection,
        "supervision": trained.network.supervision,
    }
    path = out / f"{recipe.name}.safetensors"
    save(trained.network.cpu(), recipe, data, path, summary)
    report = {**summary, "runs": [run.to_dict() for run in runs], "test": test.to_dict()}
    reported = [{"system": row.system, "source": row.source, **row.cells()} for row in data.reported]
    report |= {"reported": reported, "recipe": recipes.to_dict(recipe)}
    with atomic_write(path.with_suffix(".json")) as stream:
        json.dump(report, stream, indent=2, ensure_ascii=False)
    if recipe.select != "last":
        tables = {run.seed: out / f"{recipe.name}-seed{run.seed}.csv" for run in runs}
        curves.draw(tables, recipe.select, path.with_suffix(".png"), test.unit)
    notes = [f"weights written to {path}; {recipe.selection}"]
    return Report(
        f"{recipe.name}: {test.unit.removesuffix(', %')} on test in percent, {trained.network.supervision} supervision",
        ["system", "epoch", "val", *test.cells(), "source"],
        _rows(recipe, data, runs),
        report,
        notes,
    )


def _rows(recipe: Recipe, data: Data, runs: Sequence[Run]) -> list[list[str]]:
    """Reported figures, each seed, mean and spread of several, and answers that need no localizer."""
    columns = list(runs[0].figures["test"].cells())
    source = f"this run; {recipe.selection}"
    rows = [
        [row.system, "", "", *(percent(row.cells().get(column)) for column in columns), row.source]
        for row in data.reported
    ]
    for run in runs:
        val = run.figures.get("val")
        cells = [percent(value) for value in run.figures["test"].cells().values()]
        name = f"{recipe.name}, seed {run.seed}"
        rows.append([name, f"{run.epoch:.3g}", percent(val.score if val else None), *cells, source])
    if len(runs) > 1:
        every = [[run.figures["test"].cells()[column] for run in runs] for column in columns]
        spread = [f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" for values in every]
        rows.append([f"{recipe.name}, mean of {len(runs)}", "", "", *spread, source])
        rows.append([f"{recipe.name}, best", "", "", *(percent(max(values)) for values in every), source])
    blank = [""] * (len(columns) - 1)
    reference = runs[0].figures["test"].reference
    return rows + [[name, "", "", *blank, percent(value), "needs no localizer"] for name, value in reference.items()]
