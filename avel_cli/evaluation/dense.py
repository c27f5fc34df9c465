"""How well a dense localizer finds the events of untrimmed videos: its detections, and their mean average precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from avel_cli.datasets.dense import Sample
from avel_cli.localizers.dense import windows
from avel_cli.metrics.detection import DetectionResult, Rows, evaluate
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.proposals import Proposals, merge_windows, to_seconds

MOST = 100  # detections of a video, as UnAV's protocol has it


def detections(localizer: nn.Module, sample: Sample, steps: int, grid: Grid) -> Proposals:
    """The best detections in a video, in seconds within it, highest score first."""
    rows = windows.Rows.of(sample.audio, sample.visual)
    found = merge_windows(windows.propose_windows(localizer, [rows], steps))
    best = found.take(np.arange(min(MOST, len(found.labels))))
    return best._replace(segments=to_seconds(best.segments, grid).clip(0, sample.duration))


def annotated(samples: Dataset[Sample], grid: Grid) -> Rows:
    """The events of the samples as a table in seconds."""
    return _table(
        (sample.name, Proposals(to_seconds(sample.segments, grid), np.ones(0), sample.labels.numpy()))
        for sample in _each(samples)
    )


def _each(samples: Dataset[Sample]) -> Iterator[Sample]:
    return (samples[index] for index in range(len(samples)))  # type: ignore[arg-type]


def _table(videos: Iterable[tuple[str, Proposals]]) -> Rows:
    named = list(videos)
    return Rows(
        [name for name, found in named for _ in found.labels],
        np.concatenate([found.segments for _, found in named]),
        np.concatenate([found.labels for _, found in named]),
    )


def evaluate_localizer(
    localizer: nn.Module,
    samples: Dataset[Sample],
    steps: int,
    grid: Grid,
    *,
    names: Sequence[str] | None = None,
    truth: Rows | None = None,
) -> DetectionResult:
    """Mean average precision of a dense localizer.

    Args:
        localizer: in evaluation mode.
        samples: whole videos, read one by one.
        steps: of the windows that it was trained with.
        grid: of the features.
        names: of the classes.
        truth: the annotated events; if absent, those of the samples.
    """
    videos = [(sample.name, detections(localizer, sample, steps, grid)) for sample in _each(samples)]
    scores = np.concatenate([found.scores for _, found in videos])
    return evaluate(truth or annotated(samples, grid), _table(videos), scores, names=names)
