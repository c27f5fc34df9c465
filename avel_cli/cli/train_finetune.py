"""`avel train --model resnet50` and `vgg19`: picture encoders tuned to sounds."""

from __future__ import annotations

from pathlib import Path

from avel_cli import recipes
from avel_cli.cli.console import Console
from avel_cli.cli.inputs import find_inputs
from avel_cli.cli.jobs import TrainJob, only_folder
from avel_cli.errors import UsageError
from avel_cli.training import finetune, finetune_data


def ave(console: Console, job: TrainJob) -> None:
    """Tune on the train and val videos of AVE, which lie in the folder with `Annotations.txt` or below it."""
    folder = only_folder(job.data, "ave")
    _tune(console, job, finetune_data.ave_videos(folder, find_inputs([str(folder)], recursive=True)))


def own(console: Console, job: TrainJob) -> None:
    """Tune on the train and val videos of one's own table."""
    _tune(console, job, finetune_data.own_videos(only_folder(job.data, "a folder of videos")))


def _tune(console: Console, job: TrainJob, videos: list[Path]) -> None:
    unused = {"--seeds": job.seeds > 1, "--encoder": bool(job.encoders), "--in-memory": job.in_memory}
    given = [option for option, is_given in unused.items() if is_given]
    if given:
        raise UsageError(f"{given[0]} is not for {job.model}, which is tuned once and on the videos themselves")
    recipe = recipes.load(finetune.FinetuneRecipe, job.recipe, job.changes)
    job.require(recipe.picture)
    path = finetune.run(recipe, videos, job.output, resume=job.resume, say=console.say)
    console.say(f"written: {path}; avel extract -e {job.model} --weights {job.model}={path} uses it")
