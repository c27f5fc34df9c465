"""How well the seconds of AVE's clips are named: accuracy, confusion and events.

Labels are class indices `[N, T]`; the number of categories `K` itself stands for background, and -1 among the true
ones for a segment that is not judged. `decode_segments` makes
them of a supervised model's outputs, `decode_weak` of a weakly supervised one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from avel_cli.metrics.segments import segment_accuracy

TIOU = 0.5


def decode_weak(gate: Tensor, clip_scores: Tensor, reading: Literal["gate", "official"] = "gate") -> Tensor:
    """Class indices `[B, T]` from a weakly supervised model that scores clips, background among the classes.

    The published evaluation takes a sigmoid of a gate that is a probability already. What comes out is above 0.5
    wherever the gate is above 0, so every segment counts as an event and the answer is the same for the whole clip:
    nothing is localized. `official` repeats that, for comparison with published weak figures; `gate` holds the gate
    itself against 0.5, and is what avel reports.

    Args:
        gate: `[B, T]` in 0..1, whether a segment is an event.
        clip_scores: `[B, K + 1]`, background last.
        reading: which of the two.
    """
    background = clip_scores.shape[1] - 1
    is_event = (gate.sigmoid() if reading == "official" else gate) > 0.5
    return clip_scores.argmax(dim=1, keepdim=True).expand(gate.shape).masked_fill(~is_event, background)


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How many segments of a class (row) were given which class (column), `[K + 1, K + 1]` int64, background last."""
    size = num_classes + 1
    predicted, labels = predicted[labels >= 0], labels[labels >= 0]
    return (labels.flatten() * size + predicted.flatten()).bincount(minlength=size**2).view(size, size)


def reference_points(labels: Tensor, num_classes: int) -> dict[str, float]:
    """Segment accuracy in percent of two answers that need no model; on AVE's test split 17.79 and 82.21.

    The second knows the category of each clip and calls everything an event; it is ahead of most published systems.
    """
    background = torch.full_like(labels, num_classes)
    category = labels.masked_fill(labels == num_classes, -1).amax(dim=1, keepdim=True)  # -1: none, never right
    return {
        "always background": segment_accuracy(background, labels),
        "perfect category, never background": segment_accuracy(category.expand(labels.shape), labels),
    }


class ClassFigures(NamedTuple):
    """One category: segments that are of it, percentages of segments, and F1 of its events in percent.

    `recall` is None if no segment is of the category, `precision` if none was said to be, `event_f1` if there are
    neither events nor answers.
    """

    label: str
    segments: int
    recall: float | None
    precision: float | None
    event_f1: float | None


@dataclass(frozen=True)
class AVEFigures:
    """What one model does on one split, in percent.

    Attributes:
        labels: names of the `K` categories.
        segments: how many were judged.
        accuracy: of all segments, the figure of the literature.
        event_rate: event segments that were taken for an event, of whatever category; None if there are none.
        background_rate: background segments that were taken for background; None if there are none.
        category_accuracy: event segments found to be events that also have the right category; None if there are none.
        event_f1: of events, found if one of the category overlaps with tIoU 0.5 or more; over all clips together. None
            if there are neither events nor answers.
        classes: the same by category, in the order of the labels.
        confusion: counts `[K + 1][K + 1]`, true by predicted, background last.
        reference: answers that need no model.
        official: accuracy by the published reading of weak supervision, see `decode_weak`; None for full supervision.
    """

    labels: tuple[str, ...]
    segments: int
    accuracy: float
    event_rate: float | None
    background_rate: float | None
    category_accuracy: float | None
    event_f1: float | None
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    reference: dict[str, float]
    official: float | None = None

    unit: ClassVar = "segment accuracy, %"

    @property
    def score(self) -> float:
        """The figure that chooses an epoch: the accuracy."""
        return self.accuracy

    def cells(self) -> dict[str, float]:
        """The figures of a row of a table, by column."""
        official = {} if self.official is None else {"official weak reading": self.official}
        return {"segment accuracy": self.accuracy, **official}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "classes": [row._asdict() for row in self.classes]}


def evaluate(predicted: Tensor, labels: Tensor, names: Sequence[str]) -> AVEFigures:
    """All figures of predicted class indices `[N, T]` against the true ones.

    Raises:
        ValueError: if the shapes differ or there is nothing to judge.
    """
    accuracy, size = segment_accuracy(predicted, labels), len(names)
    table = confusion(predicted, labels, size)
    events, hits = table[:size].sum(), table[:size, :size]
    right, true, said = table.diagonal(), table.sum(1), table.sum(0)
    judged = labels >= 0
    found = _event_counts(predicted.where(judged, size), labels.where(judged, size), size)
    classes = (
        ClassFigures(name, int(true[k]), _percent(right[k], true[k]), _percent(right[k], said[k]), _f1(found[k]))
        for k, name in enumerate(names)
    )
    return AVEFigures(
        labels=tuple(names),
        segments=int(judged.sum()),
        accuracy=accuracy,
        event_rate=_percent(hits.sum(), events),
        background_rate=_percent(right[size], true[size]),
        category_accuracy=_percent(right[:size].sum(), hits.sum()),
        event_f1=_f1(found.sum(0)),
        classes=tuple(classes),
        confusion=tuple(map(tuple, table.tolist())),
        reference=reference_points(labels, size),
    )


def _percent(part: Tensor, whole: Tensor) -> float | None:
    return 100 * int(part) / int(whole) if whole else None


def _f1(counts: Tensor) -> float | None:
    """From events found, said and true."""
    return _percent(2 * counts[0], counts[1] + counts[2])


def _event_counts(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Events of each category that were found, said and true, `[K, 3]`.

    Events of one category are at least a segment apart, so at a tIoU of 0.5 none can be matched twice.
    """
    counts = torch.zeros(num_classes, 3, dtype=torch.int64)
    for said_row, true_row in zip(predicted.tolist(), labels.tolist(), strict=True):
        said, true = _runs(said_row, num_classes), _runs(true_row, num_classes)
        for category, start, end in true:
            same = [run[1:] for run in said if run[0] == category]
            counts[category, 0] += any(_tiou((start, end), span) >= TIOU for span in same)
        for column, runs in ((1, said), (2, true)):
            for category, _, _ in runs:
                counts[category, column] += 1
    return counts


def _runs(row: list[int], background: int) -> list[tuple[int, int, int]]:
    """Stretches of one category as `(category, first, last + 1)`."""
    runs, first = [], 0
    for category, group in groupby(row):
        last = first + len(list(group))
        if category != background:
            runs.append((category, first, last))
        first = last
    return runs


def _tiou(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Overlap over union of two intervals."""
    overlap = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return overlap / (one[1] - one[0] + other[1] - other[0] - overlap)
