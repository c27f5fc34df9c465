"""`avel eval` on clips with one category each: AVE, and one's own videos cut like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avel_cli import localizers, published
from avel_cli.cli import eval_cross_modal, options, own_videos
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import EvalJob, only_folder
from avel_cli.datasets.ave import AVE, Split
from avel_cli.datasets.ave_reported import REPORTED
from avel_cli.errors import UsageError
from avel_cli.evaluation import clips
from avel_cli.evaluation.cross_modal_ave import check_lists
from avel_cli.hub import registry, weights_file
from avel_cli.metrics import plots
from avel_cli.metrics.clips import AVEFigures
from avel_cli.pipeline import choose_device
from avel_cli.training.ave import forward

TEST: tuple[Split] = ("test",)


def ave(console: Console, job: EvalJob) -> None:
    """Measure on AVE's test split, with published figures beside."""
    path, folder = _weights(console, job), only_folder(job.data, "ave")
    if job.task == "cross-modal":
        eval_cross_modal.ave(console, job, path)
        return
    check_lists(path, folder, "localization")
    _measure(console, job, path, AVE(folder, "test"), compare=True)


def own(console: Console, job: EvalJob) -> None:
    """Measure on the test split of one's own videos, with the encoders that the weights were trained for."""
    if job.task == "cross-modal":
        raise UsageError("--task cross-modal is for AVE, whose lists it has; videos of one's own have none")
    path = _weights(console, job)
    folder, names = only_folder(job.data, "a folder of videos"), weights_file.read_header(path)["encoders"]
    splits = own_videos.load(console, folder, names, job.output, offline=job.offline, needed=TEST)
    _measure(console, job, path, splits["test"], compare=False)


def _weights(console: Console, job: EvalJob) -> Path:
    """The weights file, fetched if it must be."""
    card = registry.model(job.model)
    if card.own or (card.path.is_file() and not job.weights):
        return card.path
    files = options.named(job.weights, [card.name])
    ready = published.prepare(card.needs, offline=job.offline, files=files, say=console.say, watch=console.download)
    return ready[card.name]


def _measure(console: Console, job: EvalJob, path: Path, test: clips.Clips, *, compare: bool) -> None:
    header = weights_file.read_header(path)
    trained = header.get("recipe", {}).get("task", "full")
    task = job.task or trained
    if task == "weak" != trained:
        raise UsageError(f"{path}: learnt with labels of segments; there is no weak protocol for it")
    localizer: Any = localizers.load(path)
    clips.check_widths(localizer.config, test, str(path))
    clips.check_labels(header["labels"], test, str(path))
    network = forward(localizer.to(choose_device("auto")))
    readings: dict[str, AVEFigures] = {"segment accuracy": clips.figures(network, test, trained)}
    if task == "weak":
        # the published evaluation, which says one thing of a whole clip; see `metrics.clips.decode_weak`
        readings["segment accuracy, official weak reading"] = clips.figures(network, test, "weak", "official")
    figures = readings["segment accuracy"]
    selection = header.get("selection", "as published")
    beside = [row for row in REPORTED if compare and row.supervision == task]
    plots.confusion_matrix(figures, job.output / f"{header['name']}.confusion.png")
    plots.class_bars(figures, job.output / f"{header['name']}.classes.png")
    if job.as_json:
        report = {"model": header["name"], "sha256": weights_file.sha256(path), "selection": selection, "task": task}
        report |= {"readings": {name: reading.accuracy for name, reading in readings.items()}, **figures.to_dict()}
        report |= {"published": [row._asdict() for row in beside]}
        console.result_stream().write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        return
    source = f"{header['name']}: {selection}"
    rows = [[name, _percent(reading.accuracy), source] for name, reading in readings.items()]
    for name in ("event_rate", "background_rate", "category_accuracy", "event_f1"):
        rows.append([name.replace("_", " "), _percent(getattr(figures, name)), ""])
    rows += [[name, _percent(value), "needs no model"] for name, value in figures.reference.items()]
    rows += [[f"published: {row.system}", _percent(row.accuracy), row.source] for row in beside]
    console.table(["figure", "percent", "source"], rows, title=f"test split, {figures.segments} segments")
    console.say(f"pictures in {job.output}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
