"""`avel eval`: how good weights are, on data with known answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console


@click.command("eval", short_help="Measure weights on data with known answers.")
@click.option("--dataset", type=click.Choice(["starter"]), required=True, help="What to measure on.")
@click.option("--model", default="auto", show_default=True, help="Weights by name (see avel models), or auto.")
@options.packs
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder for the composed clips.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
@options.verbosity
@click.pass_obj
def evaluate(console: Console, /, dataset: str, model: str, data: Sequence[Path], cache: Path, as_json: bool) -> None:
    """Measure starter weights on the test split: taggers on files, the localizer and baselines on composed clips."""
    from avel_cli.evaluation.starter import evaluate_model

    figures = evaluate_model(model, data, cache)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    console.table(["measure", "percent"], [[name, f"{value:.2f}"] for name, value in figures.items()])
