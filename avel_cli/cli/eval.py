"""`avel eval`: how good weights are, on data with known answers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import EvalJob
from avel_cli.errors import UsageError

OWN = "DIR"  # stands for a folder of one's own videos
# data set → the function of a console and a job that does the work
JOBS = {
    "starter": "avel_cli.cli.eval_starter:starter",
    "ave": "avel_cli.cli.eval_clips:ave",
    "unav100": "avel_cli.cli.eval_dense:unav100",
    OWN: "avel_cli.cli.eval_clips:own",
}


@click.command("eval", short_help="Measure weights on data with known answers.")
@options.dataset([name for name in JOBS if name != OWN])
@options.model
@options.weights
@options.data
@click.option(
    "--task",
    type=click.Choice(["full", "weak", "cross-modal"]),
    help="Full or weak supervision, or finding one modality's event in the other.  [default: the weights']",
)
@options.output
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
@click.option("--offline", is_flag=True, help="Never open a connection.")
@options.verbosity
@click.pass_obj
def evaluate(console: Console, /, dataset: str, data: tuple[Path, ...], **settings: Any) -> None:
    """Measure weights on the test split of a data set; pictures of the figures go to the output folder.

    \b
    avel eval --dataset ave --model cace-net.ave --data data/AVE
    avel eval --dataset ave --checkpoint runs/cace-net.ave.safetensors --data data/AVE --json
    avel eval --dataset ave --checkpoint runs/ccln.ave-cross-modal-seed1.safetensors --task cross-modal --data data/AVE
    avel eval --dataset unav100 --checkpoint runs/loco.unav100-onepeace.safetensors --data data/unav100
    avel eval --dataset unav100 --weights unav=model_best.pth.tar --data data/unav100    as its authors publish it
    """
    own = dataset not in JOBS
    if own:
        data = (Path(dataset), *data)
    if settings["weights"] and (dataset == "starter" or settings["model"].endswith(".safetensors")):
        raise UsageError("--weights is for files of published models; --checkpoint is for what avel train wrote")
    if not data:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    if settings["task"] and dataset in ("starter", "unav100"):
        raise UsageError(f"--task is for AVE and your own clips; {dataset} has one task")
    module, _, function = JOBS[OWN if own else dataset].partition(":")
    work: Callable[[Console, EvalJob], None] = getattr(import_module(module), function)
    work(console, EvalJob(data=data, **settings))
