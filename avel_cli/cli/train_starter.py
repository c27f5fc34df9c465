"""`avel train --dataset starter` and `sounds`: the encoder and the localizers that ship."""

from __future__ import annotations

import statistics
from dataclasses import replace

from avel_cli import recipes
from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob
from avel_cli.errors import UsageError
from avel_cli.evaluation.starter import segment_f1
from avel_cli.training import distil, starter


def encoder(console: Console, job: TrainJob) -> None:
    """Teach the sound encoder."""
    if job.seeds > 1:
        raise UsageError("--seeds is for localizers; an encoder is trained once")
    recipe = recipes.load(distil.DistilRecipe, job.recipe, job.changes)
    weights = options.named(job.weights, [recipe.teacher])
    path = distil.train(recipe, job.data, job.output, weights=weights, resume=job.resume)
    console.say(f"weights written to {path}")


def localizer(console: Console, job: TrainJob) -> None:
    """Train with each seed; the weights of the first are written, figures of all are told beside the tags alone."""
    recipe = recipes.load(starter.StarterRecipe, job.recipe, job.changes)
    job.require(recipe.network)
    learnt_from, test = (starter.composed(recipe, job.data, split, job.output) for split in (recipe.split, "test"))
    rows, figures = [], []
    for seed in range(recipe.seed, recipe.seed + job.seeds):
        seeded = replace(recipe, seed=seed)
        fresh = starter.build(seeded, job.data, job.output)
        if seed == recipe.seed:
            rows.append(["tags alone", *(f"{segment_f1(fresh, clips):.2f}" for clips in (learnt_from, test))])
        trained = starter.train(seeded, fresh, learnt_from, job.output, resume=job.resume)
        own, figure = (segment_f1(trained, clips) for clips in (learnt_from, test))
        rows.append([str(seed), f"{own:.2f}", f"{figure:.2f}"])
        figures.append(figure)
        if seed == recipe.seed:
            path = job.output / f"{recipe.name}.safetensors"
            starter.save(trained, recipe, path, {"composed test, segment F1 in percent": round(figure, 2)})
            console.say(f"weights of seed {seed} written to {path}")
    console.table(["seed", "learnt from", "test"], rows, title=f"{recipe.name}: segment F1 in percent")
    if job.seeds > 1:
        console.say(f"test {statistics.mean(figures):.2f} ± {statistics.stdev(figures):.2f} over {job.seeds} seeds")
