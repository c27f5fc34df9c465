"""`avel status`: what became of the inputs of a batch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console

STATES = ("done", "failed", "claimed", "interrupted", "waiting")


@click.command(short_help="Tell how far a batch is.")
@click.argument("folder", metavar="DIR", type=options.FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Write how each input stands as JSON.")
@options.verbosity
@click.pass_obj
def status(console: Console, folder: Path, as_json: bool) -> None:
    """Tell how many inputs of the batch in DIR are done, failed, claimed, interrupted or waiting, and why they failed.

    Claimed is what a process works on right now.

    \b
    avel detect films/ -o results
    avel status results
    """
    from avel_cli.batch.journal import rows

    inputs = rows(folder)
    counts: Counter[str] = Counter(row.state for row in inputs)
    numbers = {state: counts[state] for state in STATES}
    if as_json:
        answer = {"counts": numbers, "inputs": [row._asdict() for row in inputs]}
        console.result_stream().write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
        return
    console.facts({state: str(number) for state, number in numbers.items()})
    if failed := [[str(row.path), str(row.reason or "")] for row in inputs if row.state == "failed"]:
        console.table(["failed", "reason"], failed)
