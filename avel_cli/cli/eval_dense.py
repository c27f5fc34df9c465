"""`avel eval` on UnAV-100: mean average precision by tIoU, of all events, of lengths and of classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from avel_cli import localizers, published
from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.jobs import EvalJob, only_folder
from avel_cli.datasets.unav100 import (
    FEATURE_SETS,
    I3D,
    Annotations,
    Features,
    FeatureSet,
    Video,
    find_annotations,
    is_published,
    read_annotations,
)
from avel_cli.datasets.unav100_reported import REPORTED, Reported
from avel_cli.errors import UsageError
from avel_cli.evaluation.dense import evaluate_localizer
from avel_cli.hub import foreign, registry, weights_file
from avel_cli.localizers.unav.network import UnAV
from avel_cli.localizers.unav.published import from_official, official_config
from avel_cli.metrics import plots
from avel_cli.metrics.detection import TIOUS, DetectionResult, Floats, annotated, reference_points
from avel_cli.pipeline import choose_device

DRAWN = 6  # classes whose curves are drawn, those with the most events
OFFICIAL = "unav"  # what --weights calls a checkpoint as UnAV's authors publish it


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        name: for tables and file names.
        path: of its weights.
        network: in evaluation mode.
        steps: of the windows that it was trained with.
        labels: that it says; empty if its file does not tell.
        selection: how the weights were chosen.
    """

    name: str
    path: Path
    network: nn.Module
    steps: int
    labels: tuple[str, ...]
    selection: str


def unav100(console: Console, job: EvalJob) -> None:
    """Measure on UnAV-100's test split, with published figures beside."""
    folder = only_folder(job.data, "unav100")
    path = find_annotations(folder)
    annotations = read_annotations(path)
    beside = REPORTED if is_published(path) else ()
    if not beside:
        console.say(f"{path}: not the published file, so published figures, which are of other videos, are left out")
    subject = _official(job.weights) if job.weights else _of_avel(console, job)
    features = _features_for(subject, annotations)
    videos = annotations.of("test")
    network = subject.network.to(choose_device("auto"))
    samples = Features(videos, folder, features)
    result = evaluate_localizer(
        network, samples, subject.steps, features.grid, names=annotations.classes, truth=annotated(videos)
    )
    _draw(subject, result, beside, job.output)
    if job.as_json:
        report = _report(subject, result, videos, beside)
        console.result_stream().write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        return
    head = ["what", "events", *(f"{tiou:.1f}" for tiou in TIOUS), "average", "source"]
    console.table(head, _rows(subject, result, videos, beside), title="test split, mean average precision by tIoU, %")
    console.say(f"pictures in {job.output}")


def _of_avel(console: Console, job: EvalJob) -> Subject:
    """Weights of avel, by name or file."""
    card = registry.model(job.model)
    path = card.path
    if not path.is_file():
        ready = published.prepare([card.name], offline=job.offline, say=console.say, watch=console.download)
        path = ready[card.name]
    header = weights_file.read_header(path)
    if "steps" not in header:
        raise UsageError(f"{path}: {header['network']} names the seconds of clips; unav100 is for loco and unav")
    selection = header["figures"].get("selection", "")
    return Subject(
        header["name"], path, localizers.load(path), header["steps"], tuple(header["labels"]), str(selection)
    )


def _official(weights: Mapping[str, Path]) -> Subject:
    """A checkpoint of UnAV as its authors publish it, whose inputs are padded as theirs.

    Raises:
        UsageError: if the file stands for something else.
        ModelError: if it is no such checkpoint.
    """
    files = options.named(weights, [OFFICIAL])
    if files.keys() != {OFFICIAL}:
        raise UsageError(f"--weights can be given for {OFFICIAL} here, not for {', '.join(files)}; or use --checkpoint")
    path = files[OFFICIAL]
    state = foreign.read(path, objects=True)  # their training keeps its optimizer and schedule in the file
    config = official_config(state, I3D.steps)
    network = UnAV(config)
    network.load_state_dict(from_official(state, config))
    network.eval().requires_grad_(False)
    return Subject("unav.official", path, network, config.max_seq_len, (), "as its authors publish it")


def _features_for(subject: Subject, annotations: Annotations) -> FeatureSet:
    """The features that a network takes.

    Raises:
        UsageError: if UnAV-100 has none of these widths, or other classes.
    """
    config: Any = subject.network.config
    if (subject.labels and subject.labels != annotations.classes) or config.num_classes != len(annotations.classes):
        raise UsageError(
            f"{subject.path}: its {config.num_classes} classes are not the {len(annotations.classes)} here"
        )
    for features in FEATURE_SETS:
        widths = [sum(width for _, width in parts) for parts in (features.audio, features.visual)]
        if widths == [config.audio_dim, config.visual_dim]:
            return features
    given = f"sound {config.audio_dim} and pictures {config.visual_dim} wide"
    raise UsageError(f"{subject.path}: takes {given}; no features of UnAV-100 are")


def _beside(row: Reported) -> str:
    return f"{row.system}, {row.features}"


def _draw(subject: Subject, result: DetectionResult, beside: Sequence[Reported], out: Path) -> None:
    """Two pictures: mean average precision by tIoU, and curves of the classes with the most events."""
    lines = {subject.name: list(zip(TIOUS.tolist(), result.mean.tolist(), strict=True))}
    lines |= {f"published: {_beside(row)}": list(zip(TIOUS[4:].tolist(), row.map, strict=True)) for row in beside}
    plots.map_by_tiou(lines, out / f"{subject.name}.map.png")
    most = np.argsort(-np.array(result.events), kind="stable")[:DRAWN]
    plots.precision_recall(
        result, [result.names[place] for place in most], out / f"{subject.name}.precision-recall.png"
    )


def _rows(
    subject: Subject, result: DetectionResult, videos: tuple[Video, ...], beside: Sequence[Reported]
) -> list[list[str]]:
    """The table: all events, what stands beside, ranges of lengths, classes."""
    rows = [_row(subject.name, sum(result.events), result.mean, subject.selection)]
    rows += [_row(name, "", found.mean, "needs no model") for name, found in reference_points(videos).items()]
    for row in beside:
        figures = [""] * 4 + [f"{value:.1f}" for value in (*row.map, row.average)]
        rows.append([f"published: {_beside(row)}", "", *figures, row.source])
    rows += [_row(part.name, part.events, part.mean) for part in result.by_length]
    return rows + [_row(*columns) for columns in zip(result.names, result.events, result.ap.T, strict=True)]


def _row(name: str, events: int | str, values: Floats, source: str = "") -> list[str]:
    return [name, str(events), *(f"{value:.2f}" for value in (*values, values.mean())), source]


def _report(
    subject: Subject, result: DetectionResult, videos: tuple[Video, ...], beside: Sequence[Reported]
) -> dict[str, Any]:
    """The same and the curves' classes, ready for JSON."""
    references = {
        name: {"map": found.mean.tolist(), "average_map": found.average}
        for name, found in reference_points(videos).items()
    }
    facts = {"model": subject.name, "sha256": weights_file.sha256(subject.path), "selection": subject.selection}
    others = {"references": references, "published": [row._asdict() for row in beside]}
    return {**facts, "split": "test", "videos": len(videos), **result.to_dict(), **others}
