"""`avel train --dataset ave --model ccln-branch`: CCLN's branch by itself, for cross-modal localization."""

from __future__ import annotations

from dataclasses import replace

from avel_cli import recipes
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob, only_folder
from avel_cli.datasets.ave import read_annotations
from avel_cli.datasets.ave_files import ANNOTATIONS
from avel_cli.datasets.ave_matching import read_match_split
from avel_cli.evaluation.cross_modal_ave import NOTE, evaluate_cross_modal
from avel_cli.training import cross_modal
from avel_cli.training.ave import is_first
from avel_cli.training.cross_modal import CrossModalRecipe


def ave(console: Console, job: TrainJob) -> None:
    """Train with each seed on the lists of the task, and score each; what position alone gives stands beside."""
    recipe, folder = recipes.load(CrossModalRecipe, job.recipe, job.changes), only_folder(job.data, "ave")
    clips = len(read_annotations(folder / ANNOTATIONS.name))
    read_match_split(folder, "test", clips)  # a missing list should be said before the hours of training
    pairs = cross_modal.read_pairs(folder, read_match_split(folder, "train", clips))
    rows = []
    for seed in range(recipe.seed, recipe.seed + job.seeds):
        run = replace(recipe, seed=seed)
        path = job.output / f"{recipe.name}-seed{seed}.safetensors"
        trained = cross_modal.train(run, pairs, job.output, resume=job.resume)
        if not is_first():
            continue
        cross_modal.save(trained, run, path, {})
        figures = evaluate_cross_modal(path, folder)
        rows.append([f"{recipe.name}, seed {seed}", *(f"{value:.2f}" for _, value in figures.rows()[:3])])
        console.say(f"weights of seed {seed} written to {path}")
    if rows:
        for name, value in figures.baselines._asdict().items():
            rows.append([f"position alone: {name}", *[f"{value:.2f}"] * 3])
        title = f"cross-modal localization on {figures.accuracy.clips} clips, percent; {NOTE}"
        console.table(["system", "A2V", "V2A", "mean"], rows, title=title)
