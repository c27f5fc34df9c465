"""`avel data`: whether a data set's folder holds what training and evaluation need."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from avel_cli import datasets
from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.datasets import DATASETS, FOLDER
from avel_cli.errors import SetupError

CHECKED = [name for name in DATASETS if name not in ("starter", FOLDER)]


@click.group(short_help="Check the folder of a published data set.")
def data() -> None:
    """Look after data sets.

    \b
    avel data check ave data/AVE    what is there, what is missing, where it comes from
    """


@data.command()
@click.argument("dataset", type=click.Choice(CHECKED))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write the findings as JSON.")
@options.verbosity
@click.pass_obj
def check(console: Console, /, dataset: str, folder: Path, as_json: bool) -> None:
    """Check the files of DATASET in FOLDER; the exit code is 4 if something needed is missing or wrong."""
    look = datasets.dataset(dataset).check
    assert look is not None
    findings = look(folder)
    if as_json:
        console.result_stream().write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        rows = [[finding.name, finding.state, finding.detail, finding.remedy] for finding in findings]
        console.table(["what", "state", "detail", "what to do"], rows, title=f"{dataset} in {folder}")
    faults = [f"{finding.name} ({finding.state})" for finding in findings if finding.needed and finding.state != "ok"]
    if faults:
        raise SetupError(f"{folder}: not ready for {dataset}: {', '.join(faults)}; see what to do above")
