"""`avel eval`: how good weights are, on data with known answers."""

from __future__ import annotations

from typing import Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.datasets import DATASETS, FOLDER
from avel_cli.errors import UsageError

NAMES = [name for name in DATASETS if name not in (FOLDER, "ave-matching")]


@click.command("eval", short_help="Measure weights on data with known answers.")
@options.dataset(NAMES)
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
@options.device
@options.verbosity
@click.pass_obj
def evaluate(console: Console, /, dataset: str, as_json: bool, **settings: Any) -> None:
    """Measure weights on the test split of a data set; pictures of the figures go to the output folder.

    \b
    avel eval --dataset ave --model cace-net.ave --data data/AVE
    avel eval --dataset ave -m runs/cace-net.ave.safetensors --data data/AVE --json
    avel eval --dataset ave -m runs/ccln.ave-cross-modal.safetensors --task cross-modal --data data/AVE
    avel eval --dataset unav100 -m runs/loco.unav100-onepeace.safetensors --data data/unav100
    avel eval --dataset unav100 --weights unav=model_best.pth.tar --data data/unav100    as its authors publish it
    """
    if dataset in NAMES and not settings["data"]:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    from avel_cli import experiments

    report = experiments.evaluate(dataset, hooks=options.hooks(console), **settings)
    console.report(report, as_json=as_json)
