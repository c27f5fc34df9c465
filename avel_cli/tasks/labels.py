"""Every label for itself: scores of each label in each segment, and what sound and picture say of it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avel_cli.localizers.dense.windows import Rows
from avel_cli.metrics.f1 import F1Figures, best_f1
from avel_cli.tasks.base import Data, Decoding, Found
from avel_cli.tasks.clips import HOP, WINDOW
from avel_cli.timeline import labels as timeline
from avel_cli.timeline.events import Modality, Second
from avel_cli.timeline.kept import of_labels
from avel_cli.timeline.labels import LabelScores
from avel_cli.timeline.segments import WindowMeans

TOGETHER = 32  # composed clips that a network sees at once
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
            known_by=how.known_by,
            min_alone=how.min_alone,
            min_duration=how.min_duration,
            keep=how.keep,
            top_k=how.top_k,
        )
        best = _best(_decisive(scores, how), how.labels) if len(scores.both) else None
        kept = how.kept(of_labels, scores, how.labels, how.known_by, MODALITIES[how.show])
        return Found(events, best, tuple(_seconds(scores, how)), kept)

    def figures(self, network: Any, data: Data, part: str) -> F1Figures:
        """F1 over segments and labels of composed clips, of the network and of its tags alone.

        Thresholds are those that are best on the part `val`, where there is one with the same labels.
        """
        clips = data.parts[part]
        found, targets = scores_by_way(network, clips), known_targets(clips)
        other = data.parts.get("val")
        chosen = None if other is None or part == "val" else (scores_by_way(network, other), known_targets(other))
        if chosen is not None and chosen[1].shape[-1] != targets.shape[-1]:
            chosen = None  # labels that only one of the parts holds
        share = float(targets.float().mean())
        figures = {"every label": 200 * share / (1 + share)}
        for way, values in found.items():
            figures[way] = best_f1(values, targets, chosen and (chosen[0][way], chosen[1]))
        return F1Figures(figures.pop("localizer"), figures)


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


@torch.inference_mode()
def scores_by_way(network: Any, clips: Any) -> dict[str, Tensor]:
    """Scores `[N, 10, L]` of the localizer and of its tags by sound, picture and both, for labels in the clips.

    Args:
        network: in evaluation mode.
        clips: as `datasets.composed_clips.ComposedClips`.
    """
    known, like = _known(clips), next(network.parameters())
    parts: dict[str, list[Tensor]] = {"localizer": [], "sound only": [], "picture only": [], "tags of both": []}
    for start in range(0, len(clips), TOGETHER):
        audio, visual = (part[start : start + TOGETHER].to(like) for part in (clips.audio, clips.visual))
        output = network(audio, visual)
        evidence = output.evidence
        given = (output.label_logits.sigmoid(), evidence.heard, evidence.seen, evidence.logits.sigmoid())
        for kept, value in zip(parts.values(), given, strict=True):
            kept.append(value[..., known].cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def known_targets(clips: Any) -> Tensor:
    """Targets `[N, 10, L]` of the labels that are in the clips."""
    targets: Tensor = clips.targets[..., _known(clips)]
    return targets


def _known(clips: Any) -> Tensor:
    known: Tensor = clips.targets.flatten(0, 1).bool().any(0)
    return known


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


def _decisive(scores: LabelScores, how: Decoding) -> timeline.Scores:
    """`[N, L]`: what each label is judged by."""
    if not how.known_by:
        return scores.both
    ways = {"both": scores.both, "heard": scores.heard, "seen": scores.seen}
    return np.stack([ways[way][:, label] for label, way in enumerate(how.known_by)], axis=1)


def _best(scores: timeline.Scores, labels: tuple[str, ...]) -> tuple[str, float]:
    """The label with the highest score, and that."""
    segment, label = np.unravel_index(scores.argmax(), scores.shape)
    return labels[label], float(scores[segment, label])


def _seconds(scores: LabelScores, how: Decoding) -> Iterator[Second]:
    for index, columns in enumerate(zip(scores.heard, scores.seen, scores.both, strict=True)):
        heard, seen, both = ((how.labels[column.argmax()], float(column.max())) for column in columns)
        yield Second(how.grid.seconds(index)[0], heard, seen, both)
