"""`avel train --dataset starter`: the encoders and the localizer that ship."""

from __future__ import annotations

import statistics
from dataclasses import replace

from avel_cli import recipes
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob
from avel_cli.errors import UsageError
from avel_cli.evaluation.starter import localizer_accuracy
from avel_cli.training import starter
from avel_cli.training.encoders import EncoderRecipe, train_encoder


def encoder(console: Console, job: TrainJob) -> None:
    """Train one of the two encoders."""
    if job.seeds > 1:
        raise UsageError("--seeds is for localizers; an encoder is trained once")
    recipe = recipes.load(EncoderRecipe, job.recipe, job.changes)
    path = train_encoder(job.model, recipe, job.data, job.output, job.pretrain_data, job.resume)
    console.say(f"weights written to {path}")


def localizer(console: Console, job: TrainJob) -> None:
    """Train with each seed; the weights of the first are written, accuracies of all are told."""
    recipe = recipes.load(starter.StarterRecipe, job.recipe, job.changes)
    learnt_from, test = (starter.composed(recipe, job.data, split, job.output) for split in (recipe.split, "test"))
    rows, accuracies = [], []
    for seed in range(recipe.seed, recipe.seed + job.seeds):
        trained = starter.train(replace(recipe, seed=seed), learnt_from, job.output, resume=job.resume)
        own, accuracy = (localizer_accuracy(trained, clips) for clips in (learnt_from, test))
        rows.append([str(seed), f"{own:.2f}", f"{accuracy:.2f}"])
        accuracies.append(accuracy)
        if seed == recipe.seed:
            path = job.output / f"{recipe.name}.safetensors"
            starter.save(trained, recipe, path, {"composed test, segment accuracy": round(accuracy, 2)})
            console.say(f"weights of seed {seed} written to {path}")
    console.table(["seed", "learnt from", "test"], rows, title=f"{recipe.name}: segment accuracy in percent")
    if job.seeds > 1:
        spread = statistics.stdev(accuracies)
        console.say(f"test {statistics.mean(accuracies):.2f} ± {spread:.2f} over {job.seeds} seeds")
