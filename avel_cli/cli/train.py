"""`avel train`: data and a recipe in, weights out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import UsageError
from avel_cli.training import defaults


@click.command(short_help="Train weights.")
@options.dataset(defaults.datasets())
@click.option("--model", required=True, help=f"What to train: {', '.join(defaults.models())}.")
@options.data
@options.weights
@click.option("--recipe", help="A recipe file, or the name of one that ships.  [default: the model's]")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change the recipe, e.g. schedule.lr=1e-3.")
@click.option("--select", type=click.Choice(["val", "test", "last"]), help="Part that chooses the epoch.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp64"]), help="Arithmetic.  [default: the recipe's]")
@click.option("--encoder", "encoders", multiple=True, help="For your own videos: one for sound, one for pictures.")
@click.option("--in-memory", is_flag=True, help="Read all features at the start: for fast GPUs; AVE's take 4.2 GB.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of seeds; reports mean and spread."
)
@options.output
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output folder.")
@options.device
@options.verbosity
@click.pass_obj
def train(console: Console, /, dataset: str, model: str, weights: dict[str, Path], **settings: Any) -> None:
    """Train encoders or a localizer: on the starter packs, on a published data set, or on your own videos.

    \b
    avel train --dataset ave --model cace-net --data data/AVE
    avel train --dataset ave --model cace-net --recipe cace-net.ave-none --seeds 5 --data data/AVE
    avel train --dataset unav100 --model loco --recipe loco.unav100-i3d --data data/unav100
    avel train --dataset sounds --model starter-sound --data sounds/        unlabelled: sounds.raw and sounds.csv
    avel train --dataset my_videos/ --model cace-net          with labels.csv: file,start,end,label

    Several GPUs or processes: torchrun --nproc-per-node 4 -m avel_cli train …
    """
    own = Path(dataset).is_dir() and dataset not in defaults.datasets()
    if not settings["recipe"]:
        defaults.default("folder" if own else dataset, model)  # before anything slow is imported
    if not own and not settings["data"]:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    from avel_cli import experiments

    report = experiments.train(dataset, model, weights=weights, hooks=options.hooks(console), **settings)
    if report is not None:
        console.report(report)
