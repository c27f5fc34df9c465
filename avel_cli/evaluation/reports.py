"""What figures of a localizer look like: a table with what stands beside it, pictures, and values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avel_cli.metrics import plots
from avel_cli.metrics.clips import AVEFigures
from avel_cli.metrics.detection import TIOUS, DetectionResult, Floats
from avel_cli.metrics.matching import NOTE
from avel_cli.metrics.report import Report, as_reported, percent
from avel_cli.tasks.base import Data

DRAWN = 6  # classes whose curves are drawn, those with the most events


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        name: for tables and file names.
        sha256: of its weights.
        selection: how the weights were chosen.
        labels: that it says; None if its file does not tell.
    """

    name: str
    sha256: str
    selection: str
    labels: tuple[str, ...] | None = None

    def facts(self) -> dict[str, str]:
        """The same for JSON."""
        return {"model": self.name, "sha256": self.sha256, "selection": self.selection}


def of_clips(subject: Subject, figures: AVEFigures, data: Data, out: Path) -> Report:
    """Segment accuracy and its parts."""
    plots.confusion_matrix(figures, out / f"{subject.name}.confusion.png")
    plots.class_bars(figures, out / f"{subject.name}.classes.png")
    source = f"{subject.name}: {subject.selection}"
    rows = [[name, percent(value), source] for name, value in figures.cells().items()]
    for name in ("event_rate", "background_rate", "category_accuracy", "event_f1"):
        rows.append([name.replace("_", " "), percent(getattr(figures, name)), ""])
    rows += [[name, percent(value), "needs no model"] for name, value in figures.reference.items()]
    rows += [[f"reported: {row.system}", *map(as_reported, row.cells().values()), row.source] for row in data.reported]
    values = {**subject.facts(), "readings": figures.cells(), **figures.to_dict(), "reported": _reported(data)}
    title = f"test split, {figures.segments} segments"
    return Report(title, ["figure", "percent", "source"], rows, values, [f"pictures in {out}"])


def of_videos(subject: Subject, result: DetectionResult, data: Data, out: Path) -> Report:
    """Mean average precision by tIoU: of all events, what stands beside, ranges of lengths, classes."""
    lines = {subject.name: list(zip(TIOUS.tolist(), result.mean.tolist(), strict=True))}
    for row in data.reported:
        known = list(row.cells().values())[:-1]
        lines[f"reported: {row.system}"] = list(zip(TIOUS[-len(known) :].tolist(), known, strict=True))
    plots.map_by_tiou(lines, out / f"{subject.name}.map.png")
    most = np.argsort(-np.array(result.events), kind="stable")[:DRAWN]
    curves = out / f"{subject.name}.precision-recall.png"
    plots.precision_recall(result, [result.names[place] for place in most], curves)
    rows = [_row(subject.name, sum(result.events), result.mean, subject.selection)]
    rows += [_row(name, "", found.mean, "needs no model") for name, found in data.baselines.items()]
    for row in data.reported:
        told = [as_reported(value) for value in row.cells().values()]
        rows.append([f"reported: {row.system}", "", *[""] * (len(TIOUS) + 1 - len(told)), *told, row.source])
    rows += [
        _row(part.name, part.events, part.mean) if part.events else [part.name, "0", *["-"] * (len(TIOUS) + 1), ""]
        for part in result.by_length
    ]
    rows += [_row(*columns) for columns in zip(result.names, result.events, result.ap.T, strict=True)]
    others = {
        name: {"map": found.mean.tolist(), "average_map": found.average} for name, found in data.baselines.items()
    }
    facts = {**subject.facts(), "split": "test", "videos": len(data.parts["test"]), **result.to_dict()}
    head = ["what", "events", *(f"{tiou:.1f}" for tiou in TIOUS), "average", "source"]
    return Report(
        "test split, mean average precision by tIoU, %",
        head,
        rows,
        {**facts, "references": others, "reported": _reported(data)},
        [f"pictures in {out}"],
    )


def of_figures(subject: Subject, figures: Any, data: Data, out: Path) -> Report:
    """Figures that are a few numbers: of composed clips, of cross-modal localization."""
    rows = [[name, percent(value)] for name, value in {**figures.cells(), **figures.reference}.items()]
    note = f"; {NOTE}" if figures.unit.startswith("windows") else ""
    return Report(f"{subject.name}{note}", ["figure", "percent"], rows, {**subject.facts(), **figures.to_dict()})


REPORTS: Mapping[str, Callable[[Subject, Any, Data, Path], Report]] = {  # task → how its figures are told
    "clips": of_clips,
    "dense": of_videos,
    "labels": of_figures,
    "matching": of_figures,
}


def _row(name: str, events: int | str, values: Floats, source: str = "") -> list[str]:
    return [name, str(events), *(f"{value:.2f}" for value in (*values, values.mean())), source]


def _reported(data: Data) -> list[dict[str, Any]]:
    return [{"system": row.system, "source": row.source, **row.cells()} for row in data.reported]
