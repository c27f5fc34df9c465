"""`avel train` on untrimmed videos: UnAV-100, and sequences composed from the starter packs."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from avel_cli import encoders, recipes
from avel_cli.cli import curves
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob, only_folder
from avel_cli.datasets import composed_dense
from avel_cli.datasets.dense import Sample
from avel_cli.datasets.unav100 import Features, Split, find_annotations, is_published, read_annotations
from avel_cli.datasets.unav100_reported import REPORTED, Reported
from avel_cli.errors import UsageError
from avel_cli.evaluation import dense as evaluation
from avel_cli.localizers.tagged.loco import TaggedLoCo
from avel_cli.metrics import detection
from avel_cli.metrics.detection import TIOUS, DetectionResult, Rows
from avel_cli.timeline.grid import Grid
from avel_cli.training import dense as training
from avel_cli.training import tags
from avel_cli.training.dense import Crops, DenseRecipe
from avel_cli.training.loop import best_file
from avel_cli.training.processes import team
from avel_cli.training.unav100 import UnAV100Recipe
from avel_cli.writers.files import whole_file

SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
HELD_OUT = ("val", "test")
STARTER_GRID = Grid(stride=0.25, window=1.0)
SHOWN = slice(4, None)  # tIoU 0.5 to 0.9, which the literature prints


@dataclass(frozen=True)
class Task:
    """What a run learns from, and what it is measured with.

    Attributes:
        parts: videos of `train`, `val` and `test`.
        truth: annotated events of `val` and `test`.
        labels: names of the classes.
        grid: of the features.
        encoders: that make such features.
        select: the part that chooses the epoch.
        selection: the same in words that go with every figure.
        published: figures of others on the same test videos.
    """

    parts: Mapping[str, Dataset[Sample]]
    truth: Mapping[str, Rows]
    labels: tuple[str, ...]
    grid: Grid
    encoders: tuple[str, ...]
    select: str
    selection: str
    published: tuple[Reported, ...] = ()

    def measure(self, network: nn.Module, part: str, steps: int) -> DetectionResult:
        """How well a network finds the events of a part."""
        videos = self.parts[part]
        return evaluation.evaluate_localizer(
            network, videos, steps, self.grid, names=self.labels, truth=self.truth[part]
        )


@dataclass(frozen=True)
class Result:
    """What one seed came to: the chosen epoch, and how well it finds events."""

    seed: int
    epoch: float
    val: DetectionResult
    test: DetectionResult

    def to_dict(self) -> dict[str, Any]:
        """Without classes and lengths, ready for JSON."""
        figures = {"val": self.val.average, "test": self.test.average, "test_map": self.test.mean.tolist()}
        return {"seed": self.seed, "epoch": self.epoch, **figures}


def unav100(console: Console, job: TrainJob) -> None:
    """Train on UnAV-100's features."""
    recipe = recipes.load(UnAV100Recipe, job.recipe, job.changes)
    job.require(recipe.network)
    folder = only_folder(job.data, "unav100")
    path = find_annotations(folder)
    annotations, features = read_annotations(path), recipe.feature_set
    beside = REPORTED if is_published(path) else ()
    if not beside:
        console.say(f"{path}: not the published file, so published figures, which are of other videos, are left out")
    videos = {part: annotations.of(split) for part, split in SPLITS.items()}
    parts: dict[str, Any] = {part: Features(some, folder, features) for part, some in videos.items()}
    if job.in_memory:
        parts = {name: [part[index] for index in range(len(part))] for name, part in parts.items()}
    truth = {part: detection.annotated(videos[part]) for part in HELD_OUT}
    words = (recipe.select, recipe.selection, beside)
    run(console, recipe, Task(parts, truth, annotations.classes, features.grid, features.encoders, *words), job)


def starter(console: Console, job: TrainJob) -> None:
    """Train on sequences composed from the starter packs."""
    recipe = recipes.load(DenseRecipe, job.recipe, job.changes)
    job.require(recipe.network.removeprefix("tagged-"))
    if recipe.composition is None:
        raise UsageError(f"recipe {job.recipe} does not say what sequences are composed of")
    make = partial(composed_dense.composed, recipe.composition, job.data, cache=job.output)
    with team().main_process_first():  # the others find what the first has made
        parts = {part: make(part) for part in composed_dense.PARTS}
    truth = {part: evaluation.annotated(parts[part], STARTER_GRID) for part in HELD_OUT}
    labels = tuple(recipe.composition.labels)
    words = ("val", "epoch chosen on validation")
    network = partial(_tagged, recipe, job, parts["train"]) if recipe.network == "tagged-loco" else None
    run(console, recipe, Task(parts, truth, labels, STARTER_GRID, composed_dense.ENCODERS, *words), job, network)


def _tagged(recipe: DenseRecipe, job: TrainJob, samples: Dataset[Sample]) -> nn.Module:
    """A new network on the tags of the encoders."""
    assert recipe.composition is not None
    sound, picture = (encoders.load(name) for name in ("starter-sound", "efficientnet-lite0"))
    vocabulary = recipe.composition.labels, job.data, recipe.composition.licences
    heads = tags.build(*vocabulary, sound, picture, job.output, pooled=2, reach=round(1 / STARTER_GRID.stride))
    known = {int(label) for index in range(len(samples)) for label in samples[index].labels}  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed)
    network = TaggedLoCo(recipe.tagged(heads.config, tuple(sorted(known))))
    network.tags.load_state_dict(heads.state_dict())
    network.tags.adopt(sound, picture)
    return network


def run(
    console: Console,
    recipe: DenseRecipe,
    task: Task,
    job: TrainJob,
    make: Callable[[], nn.Module] | None = None,
) -> None:
    """Train with each seed and say how it went; the weights of the best seed on the selecting part are written.

    `make` makes the network of a seed, where the recipe alone does not say enough to do so.

    Only the first of several processes writes and speaks.
    """
    if not team().is_main_process:
        console.setLevel(logging.ERROR)
    results: list[Result] = []
    best: tuple[float, nn.Module, Result] | None = None
    for seed in range(recipe.seed, recipe.seed + job.seeds):
        network = training.train(
            replace(recipe, seed=seed),
            task.parts["train"],
            len(task.labels),
            job.output,
            network=make() if make else None,
            score=lambda network: task.measure(network, task.select, recipe.steps).average,
            resume=job.resume,
        )
        if not team().is_main_process:
            continue
        network.to(team().device)
        epoch = _epoch(job.output, recipe, seed, task)
        result = Result(seed, epoch, *(task.measure(network, part, recipe.steps) for part in HELD_OUT))
        results.append(result)
        console.say(f"seed {seed}: epoch {epoch:.3g}, val {result.val.average:.2f}, test {result.test.average:.2f}")
        chosen = getattr(result, task.select).average
        if best is None or chosen > best[0]:
            best = chosen, network.cpu(), result
    if best is not None:
        _write(console, recipe, task, results, best[1], best[2].test, job.output)


def _epoch(out: Path, recipe: DenseRecipe, seed: int, task: Task) -> float:
    """The epoch whose weights were chosen, counted from 1."""
    step: int = torch.load(best_file(out, f"{recipe.name}-seed{seed}"), weights_only=True, mmap=True)["step"]
    return step / Crops(task.parts["train"], recipe).epoch


def _write(
    console: Console,
    recipe: DenseRecipe,
    task: Task,
    results: Sequence[Result],
    network: nn.Module,
    test: DetectionResult,
    out: Path,
) -> None:
    """Weights, figures and curves of a run, and a table."""
    values = [result.test.average for result in results]
    summary: dict[str, Any] = {
        "test mAP, average of tIoU 0.1 to 0.9": round(test.average, 3),
        **{f"test mAP at tIoU {tiou:.1f}": round(value, 3) for tiou, value in zip(TIOUS, test.mean, strict=True)},
        "seeds": len(results),
        "mean": round(statistics.mean(values), 3),
        "spread": round(statistics.stdev(values), 3) if len(values) > 1 else None,
        "best": round(max(values), 3),
        "selection": task.selection,
    }
    path = out / f"{recipe.name}.safetensors"
    training.save(
        network,
        recipe,
        path,
        summary,
        labels=list(task.labels),
        grid=task.grid,
        encoders=task.encoders,
        dtype=torch.float32,
    )
    report = {**summary, "runs": [result.to_dict() for result in results], "test": test.to_dict()}
    report |= {"published": [row._asdict() for row in task.published], "recipe": recipes.to_dict(recipe)}
    with whole_file(path.with_suffix(".json")) as stream:
        json.dump(report, stream, indent=2, ensure_ascii=False)
    tables = {result.seed: out / f"{recipe.name}-seed{result.seed}.csv" for result in results}
    curves.draw(tables, task.select, path.with_suffix(".png"), "mean average precision, %")
    _tell(console, recipe, task, results)
    console.say(f"weights written to {path}; {task.selection}")


def _tell(console: Console, recipe: DenseRecipe, task: Task, results: Sequence[Result]) -> None:
    """A table of published figures and of ours, with where each comes from."""
    rows = [
        [row.system, "", "", *_percent([*row.map, row.average]), f"{row.features}; {row.source}"]
        for row in task.published
    ]
    ours = [[*result.test.mean[SHOWN], result.test.average] for result in results]
    name = f"{recipe.name}, as specified here" if recipe.network == "loco" else recipe.name
    source = f"this run; {task.selection}"
    for result, figures in zip(results, ours, strict=True):
        facts = [f"{name}, seed {result.seed}", f"{result.epoch:.3g}", f"{result.val.average:.2f}"]
        rows.append([*facts, *_percent(figures), source])
    if len(results) > 1:
        columns = list(zip(*ours, strict=True))
        spread = [f"{statistics.mean(column):.2f} ± {statistics.stdev(column):.2f}" for column in columns]
        rows.append([f"{name}, mean of {len(results)}", "", "", *spread, source])
        rows.append([f"{name}, best", "", "", *_percent(map(max, columns)), source])
    head = ["system", "epoch", "val", *(f"{tiou:.1f}" for tiou in TIOUS[SHOWN]), "average", "source"]
    console.table(head, rows, title="mean average precision on test by tIoU, %, and averaged over 0.1 to 0.9")


def _percent(values: Any) -> list[str]:
    return [f"{value:.2f}" for value in values]
