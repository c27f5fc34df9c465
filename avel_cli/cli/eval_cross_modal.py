"""`avel eval --dataset ave --task cross-modal`: where in one modality the event of the other is."""

from __future__ import annotations

import json
from pathlib import Path

from avel_cli.cli.console import Console
from avel_cli.cli.jobs import EvalJob, only_folder
from avel_cli.evaluation.cross_modal_ave import NOTE, evaluate_cross_modal
from avel_cli.hub import weights_file


def ave(console: Console, job: EvalJob, weights: Path) -> None:
    """Measure weights on the test clips of AVE's lists for this task, with what position alone gives beside."""
    figures = evaluate_cross_modal(weights, only_folder(job.data, "ave"))
    name = weights_file.read_header(weights)["name"]
    if job.as_json:
        report = {"model": name, "sha256": weights_file.sha256(weights), **figures.to_dict()}
        console.result_stream().write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        return
    rows = [[figure, f"{value:.2f}"] for figure, value in figures.rows()]
    console.table(["figure", "percent"], rows, title=f"{name} on {figures.accuracy.clips} clips; {NOTE}")
