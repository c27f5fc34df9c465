"""`avel train`: data and a recipe in, weights out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import TrainJob
from avel_cli.errors import UsageError

OWN = "DIR"  # stands for a folder of one's own videos
# data set and model → default recipe, and the function of a console and a job that does the work
JOBS = {
    ("sounds", "starter-sound"): ("starter-sound", "avel_cli.cli.train_starter:encoder"),
    ("starter", "cace-net"): ("cace-net.starter", "avel_cli.cli.train_starter:localizer"),
    ("starter", "ccln"): ("ccln.starter", "avel_cli.cli.train_starter:localizer"),
    ("ave", "cace-net"): ("cace-net.ave", "avel_cli.cli.train_clips:ave"),
    ("ave", "ccln"): ("ccln.ave", "avel_cli.cli.train_clips:ave"),
    ("ave", "ccln-branch"): ("ccln.ave-cross-modal", "avel_cli.cli.train_cross_modal:ave"),
    ("ave", "resnet50"): ("resnet50.finetune", "avel_cli.cli.train_finetune:ave"),
    ("ave", "vgg19"): ("vgg19.finetune", "avel_cli.cli.train_finetune:ave"),
    ("starter", "loco"): ("loco.starter", "avel_cli.cli.train_dense:starter"),
    ("unav100", "loco"): ("loco.unav100-onepeace", "avel_cli.cli.train_dense:unav100"),
    ("unav100", "unav"): ("unav.unav100-i3d", "avel_cli.cli.train_dense:unav100"),
    (OWN, "cace-net"): ("cace-net.folder", "avel_cli.cli.train_clips:own"),
    (OWN, "resnet50"): ("resnet50.finetune", "avel_cli.cli.train_finetune:own"),
    (OWN, "vgg19"): ("vgg19.finetune", "avel_cli.cli.train_finetune:own"),
}


@click.command(short_help="Train weights.")
@options.dataset(sorted({dataset for dataset, _ in JOBS if dataset != OWN}))
@click.option(
    "--model", type=click.Choice(list(dict.fromkeys(m for _, m in JOBS))), required=True, help="What to train."
)
@options.data
@options.weights
@click.option("--recipe", help="A recipe file, or the name of one that ships.  [default: the model's]")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change the recipe, e.g. schedule.lr=1e-3.")
@click.option("--select", type=click.Choice(["val", "test"]), help="Split that chooses the epoch.  [default: val]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp64"]), help="Arithmetic.  [default: the recipe's]")
@click.option("--encoder", "encoders", multiple=True, help="For one's own videos: one for sound, one for pictures.")
@click.option("--in-memory", is_flag=True, help="Read all features at the start: for fast GPUs; AVE's take 4.2 GB.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Train so often; tell the spread.")
@options.output
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output folder.")
@options.verbosity
@click.pass_obj
def train(
    console: Console,
    /,
    dataset: str,
    model: str,
    data: tuple[Path, ...],
    recipe: str | None,
    changes: tuple[str, ...],
    select: str | None,
    precision: str | None,
    **settings: Any,
) -> None:
    """Train encoders or a localizer: on the starter packs, on a published data set, or on videos of one's own.

    \b
    avel train --dataset ave --model cace-net --data data/AVE
    avel train --dataset ave --model cace-net --recipe cace-net.ave-none --seeds 5 --data data/AVE
    avel train --dataset unav100 --model loco --recipe loco.unav100-i3d --data data/unav100
    avel train --dataset sounds --model starter-sound --data sounds/        unlabelled: sounds.raw and sounds.csv
    avel train --dataset my_videos/ --model cace-net          with labels.csv: file,start,end,label

    Several GPUs or processes: torchrun --nproc-per-node 4 -m avel_cli train …
    """
    own = Path(dataset).is_dir() and not any(dataset == known for known, _ in JOBS)
    key = (OWN if own else dataset, model)
    if key not in JOBS:
        models = ", ".join(name for known, name in JOBS if known == key[0])
        raise UsageError(f"there is no recipe for {model} on {dataset}; --model can be {models}")
    if own:
        data = (Path(dataset), *data)
    if settings["encoders"] and not own:
        raise UsageError("--encoder is for your own videos; the features of a data set are there already")
    if settings["weights"] and dataset != "sounds":
        raise UsageError("--weights is for the teacher of starter-sound")
    if not data:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    name, where = JOBS[key]
    given = {"select": select, "schedule.precision": precision}
    changes = (*changes, *(f"{key}={value}" for key, value in given.items() if value))
    module, _, function = where.partition(":")
    work: Callable[[Console, TrainJob], None] = getattr(import_module(module), function)
    work(console, TrainJob(model, recipe or name, changes, data, **settings))
