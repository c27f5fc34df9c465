"""Every label for itself: scores of each label in each segment, and what sound and picture say of it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from avel_cli.localizers.dense.windows import Rows
from avel_cli.tasks.base import Decoding, Found
from avel_cli.tasks.clips import HOP, WINDOW
from avel_cli.timeline import labels as timeline
from avel_cli.timeline.events import Modality, Second
from avel_cli.timeline.labels import LabelScores
from avel_cli.timeline.segments import WindowMeans

MODALITIES: dict[str, tuple[Modality, ...]] = {
    "both": ("both",),
    "heard": ("both", "heard"),
    "seen": ("both", "seen"),
    "all": ("both", "heard", "seen"),
}


class Labels:
    """The answer of tagged networks, in windows of ten segments that overlap by half, averaged."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """See `tasks.base.Task`."""
        scores = label_scores(network, blocks, len(how.labels))
        events = timeline.decode(
            scores,
            how.labels,
            how.grid,
            duration=how.duration,
            min_score=how.min_score,
            parents=dict(how.parents),
            modalities=MODALITIES[how.show],
            min_duration=how.min_duration,
            keep=how.keep,
            top_k=how.top_k,
        )
        best = _best(scores.both, how.labels) if len(scores.both) else None
        return Found(events, best, tuple(_seconds(scores, how)))


@torch.inference_mode()
def label_scores(network: nn.Module, blocks: Iterable[Rows], num_labels: int) -> LabelScores:
    """What a tagged network says of a file; a few hundred bytes a segment."""
    means = WindowMeans(3 * num_labels)
    for first, window in _windows(blocks):
        output: Any = network(window.audio.unsqueeze(0), window.visual.unsqueeze(0))
        heard, seen = window.heard.cpu().float()[:, None], window.seen.cpu().float()[:, None]
        both = output.label_logits[0].float().sigmoid().cpu() * heard * seen
        evidence = output.evidence
        means.add(first, torch.cat([both, evidence.heard[0].cpu() * heard, evidence.seen[0].cpu() * seen], dim=1))
    return LabelScores(*np.split(means.means(), 3, axis=1))


def _windows(blocks: Iterable[Rows]) -> Iterator[tuple[int, Rows]]:
    """First segment and rows of windows that begin every five segments; the last one ends with the file."""
    rows: Rows | None = None
    first = 0
    for block in blocks:
        rows = block if rows is None else Rows(*(torch.cat(columns) for columns in zip(rows, block, strict=True)))
        while len(rows.heard) >= WINDOW + HOP:
            yield first, rows.part(0, WINDOW)
            rows, first = rows.part(HOP), first + HOP
    if rows is None:
        return
    if (rest := len(rows.heard) - WINDOW) > 0:
        yield first, rows.part(0, WINDOW)
        rows, first = rows.part(rest), first + rest
    yield first, rows


def _best(scores: timeline.Scores, labels: tuple[str, ...]) -> tuple[str, float]:
    """The label with the highest score, and that."""
    segment, label = np.unravel_index(scores.argmax(), scores.shape)
    return labels[label], float(scores[segment, label])


def _seconds(scores: LabelScores, how: Decoding) -> Iterator[Second]:
    for index, columns in enumerate(zip(scores.heard, scores.seen, scores.both, strict=True)):
        heard, seen, both = ((how.labels[column.argmax()], float(column.max())) for column in columns)
        yield Second(how.grid.seconds(index)[0], heard, seen, both)
