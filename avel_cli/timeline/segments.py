"""From window scores to events, for localizers that answer once per segment (AVE's grid). numpy only.

`SegmentScores` averages what overlapping windows say about a segment; `decode` makes events of the averages.
Answers for each label by itself are decoded in `labels`; dense localizers, whose events may overlap, in `proposals`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avel_cli.errors import UsageError
from avel_cli.timeline.events import Event
from avel_cli.timeline.filters import select

Scores = NDArray[np.float64]


class Grid(Protocol):
    """What decoding needs of a time grid: where a segment begins and ends."""

    def seconds(self, index: int) -> tuple[float, float]:
        """Begin and end of segment `index`, in seconds."""
        ...


class WindowMeans:
    """Means of what overlapping windows say of each segment; 8 bytes for a value of a segment, twice that at most."""

    def __init__(self, width: int) -> None:
        self._sums = np.zeros((0, width + 1))  # [N, values + number of windows]
        self._length = 0

    def __len__(self) -> int:
        """One more than the last segment that a window covered, padding included."""
        return self._length

    def add(self, first: int, values: ArrayLike) -> None:
        """Take in one window: its values `[T, width]`, and the index of its first segment."""
        rows = np.asarray(values, dtype=np.float64)
        self._length = max(self._length, first + len(rows))
        missing = self._length - len(self._sums)
        if missing > 0:  # at least doubling keeps the copying linear in the length
            self._sums = np.pad(self._sums, ((0, max(missing, len(self._sums))), (0, 0)))
        window = self._sums[first : first + len(rows)]
        window[:, :-1] += rows
        window[:, -1] += 1

    def means(self) -> Scores:
        """`[N, width]`; zero where no window was seen."""
        sums = self._sums[: self._length]
        return sums[:, :-1] / np.maximum(sums[:, -1:], 1)


class SegmentScores:
    """Mean scores of each segment over all windows that cover it; about 200 bytes for a segment and 28 classes."""

    def __init__(self, num_classes: int) -> None:
        self._means = WindowMeans(num_classes + 1)

    def __len__(self) -> int:
        """One more than the last segment that a window covered, padding included."""
        return len(self._means)

    def add(self, first: int, events: ArrayLike, classes: ArrayLike) -> None:
        """Take in one window.

        Args:
            first: index of the window's first segment.
            events: probability that a segment holds an audio-visual event, `[T]`, 0..1.
            classes: probability of each class in the whole window, `[K]`, 0..1.
        """
        steps, kinds = np.asarray(events, dtype=np.float64), np.asarray(classes, dtype=np.float64)
        self._means.add(first, np.column_stack([steps, np.broadcast_to(kinds, (len(steps), len(kinds)))]))

    def means(self) -> tuple[Scores, Scores]:
        """Event probability `[N]` and class probabilities `[N, K]`; zero where no window was seen."""
        means = self._means.means()
        return means[:, 0], means[:, 1:]


def decode(
    scores: SegmentScores,
    labels: Sequence[str],
    grid: Grid,
    *,
    count: int,
    duration: float,
    threshold: float = 0.5,
    min_score: float = 0.0,
    min_duration: float = 0.0,
    keep: Collection[str] = (),
    top_k: int | None = None,
) -> tuple[Event, ...]:
    """Events in order of time; those of one label never overlap, and all lie within `[0, duration]`.

    A segment is an event if its event probability is above `threshold`; it takes the best class of its mean
    class scores, and the product of both probabilities as its score. Neighbours with one label are one event,
    which scores their mean.

    Args:
        scores: what the windows said.
        labels: name of each class, `[K]`.
        grid: where segments lie in time.
        count: number of real segments; those after it are padding and never become events.
        duration: length of the file in seconds; events end there at the latest.
        threshold: event probability that must be exceeded, 0..1.
        min_score: segments that score less are no event, 0..1.
        min_duration: events shorter than this many seconds are dropped.
        keep: labels to keep; empty keeps all.
        top_k: keep this many events, those with the highest scores.
    """
    probabilities, classes = (values[:count] for values in scores.means())
    if not len(probabilities):
        return ()
    segment_scores = probabilities * classes.max(axis=1)
    found = (probabilities > threshold) & (segment_scores >= min_score)
    best = np.where(found, classes.argmax(axis=1), -1)  # [N], -1: no event
    events = (
        Event(start, end, labels[index], float(np.clip(segment_scores[first:last].mean(), 0.0, 1.0)))
        for index, first, last in runs(best)
        for start, end in [(max(grid.seconds(first)[0], 0.0), min(grid.seconds(last - 1)[1], duration))]
        if index >= 0 and start < end
    )
    return select(events, min_duration=min_duration, keep=keep, top_k=top_k)


def match_labels(wanted: Iterable[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The given labels as the model spells them; case does not matter.

    Raises:
        UsageError: for a label that the model does not know, naming the closest ones that it does.
    """
    known = {label.casefold(): label for label in labels}
    matched = []
    for label in wanted:
        if label.casefold() not in known:
            close = difflib.get_close_matches(label.casefold(), known, n=3)
            hint = f"Did you mean {' or '.join(known[name] for name in close)}?" if close else "See: avel models show"
            raise UsageError(f'the model has no label "{label}". {hint}')
        matched.append(known[label.casefold()])
    return tuple(matched)


def runs(values: NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    """Stretches of equal neighbours as `(value, first, last + 1)`."""
    first = 0
    for value, group in groupby(values.tolist()):
        last = first + sum(1 for _ in group)
        yield value, first, last
        first = last
