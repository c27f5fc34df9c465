"""`avel eval --dataset starter`: taggers on files, the localizer and baselines on composed clips."""

from __future__ import annotations

import json

import click

from avel_cli.cli.console import Console
from avel_cli.cli.jobs import EvalJob
from avel_cli.evaluation.starter import evaluate_model


def starter(console: Console, job: EvalJob) -> None:
    """Measure starter weights on the test split of the packs."""
    figures = evaluate_model(job.model, job.data, job.output)
    if job.as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    console.table(["measure", "percent"], [[name, f"{value:.2f}"] for name, value in figures.items()])
