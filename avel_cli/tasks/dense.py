"""Untrimmed video: events of any length that may overlap, proposed window by window; and UnAV-100's protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import nn

from avel_cli.localizers.dense.windows import Rows, propose_windows
from avel_cli.metrics.detection import DetectionResult, evaluate
from avel_cli.metrics.detection import Rows as Table
from avel_cli.tasks.base import Data, Decoding, Found
from avel_cli.timeline import proposals
from avel_cli.timeline.filters import select
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.kept import of_proposals
from avel_cli.timeline.labels import most_special
from avel_cli.timeline.proposals import Proposals, merge_windows, to_seconds

MOST = 100  # detections of a video, as UnAV's protocol has it


class Dense:
    """UnAV's and LoCo's answer: proposals with a score for each class."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """See `tasks.base.Task`. Events lie where there is both sound and picture."""
        found = merge_windows(propose_windows(network, blocks, how.steps, min_score=how.threshold))
        every = proposals.decode(found, how.labels, how.grid, begin=how.begin, duration=how.end)
        best = max(every, key=lambda event: event.score, default=None)
        sure = most_special(select(every, min_score=how.min_score), how.labels, dict(how.parents))
        events = select(sure, min_duration=how.min_duration, keep=how.keep, top_k=how.top_k)
        kept = how.kept(of_proposals, every, how.labels)
        return Found(events, (best.label, best.score) if best else None, scores=kept)

    def figures(self, network: Any, data: Data, part: str) -> DetectionResult:
        """Mean average precision on whole videos, which are read one by one."""
        videos = [(sample.name, detections(network, sample, data.grid)) for sample in _each(data.parts[part])]
        scores = np.concatenate([found.scores for _, found in videos])
        truth = data.truth.get(part) or annotated(data.parts[part], data.grid)
        return evaluate(truth, _table(videos), scores, names=data.labels)


def detections(localizer: Any, sample: Any, grid: Grid) -> Proposals:
    """The best detections in a `datasets.dense.Sample`, in seconds within it, highest score first."""
    rows = Rows.of(sample.audio, sample.visual)
    found = merge_windows(propose_windows(localizer, [rows], localizer.config.max_seq_len))
    best = found.take(np.arange(min(MOST, len(found.labels))))
    return best._replace(segments=to_seconds(best.segments, grid).clip(0, sample.duration))


def annotated(samples: Any, grid: Grid) -> Table:
    """The events of the samples as a table in seconds."""
    return _table(
        (sample.name, Proposals(to_seconds(sample.segments, grid), np.ones(0), sample.labels.numpy()))
        for sample in _each(samples)
    )


def _each(samples: Any) -> Iterator[Any]:
    return (samples[index] for index in range(len(samples)))


def _table(videos: Iterable[tuple[str, Proposals]]) -> Table:
    named = list(videos)
    return Table(
        [name for name, found in named for _ in found.labels],
        np.concatenate([found.segments for _, found in named]),
        np.concatenate([found.labels for _, found in named]),
    )
