"""From scores of each label in each segment to events, for localizers that judge every label by itself. numpy only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avel_cli.timeline.events import Event, Modality
from avel_cli.timeline.filters import select
from avel_cli.timeline.segments import Grid, runs

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]

BOTH: tuple[Modality, ...] = ("both",)
ALONE = 0.5  # probability from which a label counts as heard, or seen, on its own


class LabelScores(NamedTuple):
    """What is known of `N` segments and `L` labels, each `[N, L]` in 0..1.

    Attributes:
        both: that the label is heard and seen; 0 where there is no sound or no picture.
        heard: that it is heard; 0 where there is no sound.
        seen: that it is seen; 0 where there is no picture.
    """

    both: Scores
    heard: Scores
    seen: Scores


def decode(
    scores: LabelScores,
    labels: Sequence[str],
    grid: Grid,
    *,
    duration: float,
    min_score: float,
    parents: Mapping[str, str] | None = None,
    modalities: Sequence[Modality] = BOTH,
    known_by: Sequence[Modality] = (),
    min_alone: float = ALONE,
    min_duration: float = 0.0,
    keep: Collection[str] = (),
    top_k: int | None = None,
) -> tuple[Event, ...]:
    """Events in order of time, within `[0, duration]`; those of different labels may overlap.

    Neighbouring segments that score `min_score` are one event, which scores their mean. A label that is more general
    than another one of the same segment is not said there.

    Args:
        scores: of the segments of the file.
        labels: name of each label, `[L]`.
        grid: where segments lie in time.
        duration: length of the file in seconds; events end there at the latest.
        min_score: what a segment must score, 0..1.
        parents: the more general label of a label, for those that have one.
        modalities: `both` lists what is heard and seen; `heard` and `seen`, what is only that.
        known_by: how each label can be known, `[L]`; empty if all by both. What can only be heard, or only be seen, is
            listed as that whatever the `modalities`.
        min_alone: what a segment must score for a label that is known by one of them, 0..1.
        min_duration: events shorter than this many seconds are dropped.
        keep: labels to keep; empty keeps all.
        top_k: keep this many events, those with the highest scores.
    """
    ancestors = _ancestors(labels, parents or {})
    halves = np.array([way != "both" for way in known_by] or [False] * len(labels))
    both = (scores.both >= min_score) & (scores.both > 0) & ~halves
    found: list[Event] = []
    alone: tuple[tuple[Modality, Scores], ...] = (("heard", scores.heard), ("seen", scores.seen))
    for modality, values in alone:
        told = (values >= min_alone) & (values > 0) & np.array([way == modality for way in known_by or BOTH])
        events = _events(told, values, scores, labels, grid, duration)
        found += (replace(event, modality=modality) for event in events)
    for modality in modalities:
        if modality == "both":
            told, values = both, scores.both
        else:
            own, other = (scores.heard, scores.seen) if modality == "heard" else (scores.seen, scores.heard)
            told, values = (own >= ALONE) & (other < ALONE) & ~both & ~halves, own
        told = _most_special(told, ancestors)
        found += (replace(event, modality=modality) for event in _events(told, values, scores, labels, grid, duration))
    return select(found, min_duration=min_duration, keep=keep, top_k=top_k)


def most_special(events: Sequence[Event], labels: Sequence[str], parents: Mapping[str, str]) -> list[Event]:
    """`events` without those that lie by half or more in one of a label that is less general."""
    lines = dict(zip(labels, _ancestors(labels, parents), strict=True))
    return [event for event in events if not any(_says_more(other, event, labels, lines) for other in events)]


def _says_more(other: Event, event: Event, labels: Sequence[str], lines: Mapping[str, Sequence[int]]) -> bool:
    if event.label not in (labels[index] for index in lines[other.label]):
        return False
    return min(event.end, other.end) - max(event.start, other.start) >= event.duration / 2


def _ancestors(labels: Sequence[str], parents: Mapping[str, str]) -> list[list[int]]:
    """For each label the indices of all that are more general."""
    found = []
    for label in labels:
        line, general = [label], parents.get(label)
        while general and general not in line:
            line.append(general)
            general = parents.get(general)
        found.append([labels.index(name) for name in line[1:] if name in labels])
    return found


def _most_special(told: Mask, ancestors: Sequence[Sequence[int]]) -> Mask:
    """`told` without what is more general than another label of the same segment."""
    kept = told.copy()
    for label, line in enumerate(ancestors):
        for general in line:
            kept[told[:, label], general] = False
    return kept


def _events(
    told: Mask, values: Scores, scores: LabelScores, labels: Sequence[str], grid: Grid, duration: float
) -> Iterator[Event]:
    for index, label in enumerate(labels):
        for there, first, last in runs(told[:, index]):
            start, end = max(grid.seconds(first)[0], 0.0), min(grid.seconds(last - 1)[1], duration)
            if there and start < end:
                part = slice(first, last)
                score, heard, seen = (
                    float(np.clip(column[part, index].mean(), 0.0, 1.0))
                    for column in (values, scores.heard, scores.seen)
                )
                yield Event(start, end, label, score, heard, seen)
