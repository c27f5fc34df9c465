"""`avel train` on clips with one category each: AVE, and one's own videos cut like it."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from avel_cli import recipes
from avel_cli.cli import curves, own_videos
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob, only_folder
from avel_cli.datasets.ave import AVE, load_splits
from avel_cli.datasets.ave_reported import REPORTED, Reported
from avel_cli.errors import UsageError
from avel_cli.evaluation import clips
from avel_cli.metrics.clips import AVEFigures
from avel_cli.training import ave as training
from avel_cli.training.ave import AVERecipe, Clips, Trained
from avel_cli.training.processes import team
from avel_cli.writers.files import whole_file

HELD_OUT = ("val", "test")
WIDTHS = (  # of the encoders that make features like AVE's, of sound and of picture
    {"vggish": 128, "cnn14": 2048, "starter-sound": 1280},
    {"vgg19": 512, "vgg19-torchvision": 512, "resnet50": 2048},
)


def ave(console: Console, job: TrainJob) -> None:
    """Train on AVE's features."""
    recipe = recipes.load(AVERecipe, job.recipe, job.changes)
    job.require(recipe.network)
    folder = only_folder(job.data, "ave")
    splits = load_splits(folder, weak=recipe.task == "weak", in_memory=job.in_memory)
    check_encoders(recipe, splits["train"], folder)
    published = [row for row in REPORTED if row.supervision == recipe.task]
    held = {"val": splits["val"], "test": splits["test"]}
    results = run(console, recipe, splits["train"], held, job, published)
    if results:
        rows = [[row.system, f"{row.accuracy:.2f}", row.source] for row in published]
        rows += [[f"{recipe.name}, seed {result.seed}", f"{result.test:.2f}", "this run"] for result in results]
        title = f"segment accuracy on test, %, {recipe.task} supervision; this run: {recipe.selection}"
        console.table(["system", title, "source"], rows)


def check_encoders(recipe: AVERecipe, data: AVE, folder: Path) -> None:
    """Whether the features are of the recipe's encoders, which the weights will name to those who use them.

    Raises:
        UsageError: if the files name others or the features have other widths; it says what fits.
    """
    fitting = []
    for name, said, width, known in zip(
        recipe.encoders, data.encoders, (data.audio_dim, data.visual_dim), WIDTHS, strict=True
    ):
        others = (other for other, wide in known.items() if wide == width)
        fitting.append(said or (name if known.get(name, width) == width else next(others, "NAME")))
    if fitting != list(recipe.encoders):
        raise UsageError(
            f"{folder}: features {data.audio_dim} and {data.visual_dim} wide are not of {' and '.join(recipe.encoders)}"
            f" as {recipe.name} has it; say what made them, as with --set 'encoders={json.dumps(fitting)}'"
        )


def own(console: Console, job: TrainJob) -> None:
    """Train on videos of one's own."""
    encoders = [f"encoders={json.dumps(job.encoders)}"] if job.encoders else []
    recipe = recipes.load(AVERecipe, job.recipe, [*job.changes, *encoders])
    job.require(recipe.network)
    with team().main_process_first():  # the others find what the first has made
        splits = own_videos.load(console, only_folder(job.data, "a folder of videos"), recipe.encoders, job.output)
    run(console, recipe, splits["train"], {"val": splits["val"], "test": splits["test"]}, job)


@dataclass(frozen=True)
class Result:
    """What one seed came to: the chosen epoch, and segment accuracies in percent."""

    seed: int
    epoch: float
    val: float
    test: float


def run(
    console: Console,
    recipe: AVERecipe,
    learn: Clips,
    held: Mapping[str, Clips],
    job: TrainJob,
    published: Sequence[Reported] = (),
) -> list[Result]:
    """Train with each seed and say how it went; the weights of the best seed on the selecting split are written.

    Only the first of several processes gives results. `published` are figures on the same clips to stand beside.
    """
    if not training.is_first():
        console.setLevel(logging.ERROR)
    score = partial(clips.accuracy, clips=held[recipe.select], task=recipe.task)
    results: list[Result] = []
    best: tuple[float, Trained, AVEFigures] | None = None
    for seed in range(recipe.seed, recipe.seed + job.seeds):
        trained = training.train(replace(recipe, seed=seed), learn, job.output, score=score, resume=job.resume)
        if not training.is_first():
            continue
        network = training.forward(trained.model.to(team().device))
        measured = {split: clips.figures(network, held[split], recipe.task) for split in HELD_OUT}
        results.append(Result(seed, trained.epoch, measured["val"].accuracy, measured["test"].accuracy))
        row = results[-1]
        say = f"seed {seed}: epoch {row.epoch:g} chosen on {recipe.select}, val {row.val:.2f}, test {row.test:.2f}"
        console.say(say)
        chosen = measured[recipe.select].accuracy
        if best is None or chosen > best[0]:
            best = chosen, trained, measured["test"]
    if best is not None:
        _write(console, recipe, results, best[1], best[2], job.output, published)
    return results


def _write(
    console: Console,
    recipe: AVERecipe,
    results: Sequence[Result],
    best: Trained,
    test: AVEFigures,
    out: Path,
    published: Sequence[Reported],
) -> None:
    """Weights, figures and curves of a run, and a table; `test` are the figures of the seed that was chosen."""
    values = [result.test for result in results]
    summary: dict[str, Any] = {
        "test segment accuracy": round(test.accuracy, 3),
        "seeds": len(results),
        "mean": round(statistics.mean(values), 3),
        "spread": round(statistics.stdev(values), 3) if len(values) > 1 else None,
        "best": round(test.accuracy, 3),
        "selection": recipe.selection,
        "supervision": recipe.task,
    }
    path = out / f"{recipe.name}.safetensors"
    training.save(best, recipe, path, test.labels, summary)
    report = {**summary, "runs": [asdict(result) for result in results], "test": test.to_dict()}
    report |= {"published": [row._asdict() for row in published], "recipe": recipes.to_dict(recipe)}
    with whole_file(path.with_suffix(".json")) as stream:
        json.dump(report, stream, indent=2, ensure_ascii=False)
    tables = {result.seed: out / f"{recipe.name}-seed{result.seed}.csv" for result in results}
    curves.draw(tables, recipe.select, path.with_suffix(".png"), "accuracy, %")
    rows = [[str(r.seed), f"{r.epoch:g}", f"{r.val:.2f}", f"{r.test:.2f}"] for r in results]
    if len(values) > 1:
        rows.append([f"mean of {len(values)}", "", "", f"{summary['mean']:.2f} ± {summary['spread']:.2f}"])
        rows.append([f"best on {recipe.select}", "", "", f"{summary['best']:.2f}"])
    rows += [[name, "", "", f"{value:.2f}"] for name, value in test.reference.items()]
    columns = ["seed", "epoch", "val", f"test ({recipe.selection})"]
    console.table(columns, rows, title=f"{recipe.name}: segment accuracy in percent")
    console.say(f"weights written to {path}; {recipe.selection}")
