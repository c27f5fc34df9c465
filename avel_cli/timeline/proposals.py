"""From dense scores to events, for localizers whose events may overlap (UnAV-100's task). numpy only.

`propose` reads segments off the levels of a pyramid, `soft_nms` lowers the scores of those that say the same,
`merge_windows` does so across the windows of a long file, and `decode` makes events of what is left.
Positions are in steps of the localizer's time grid, fractions allowed, until `decode` turns them into seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avel_cli.timeline.events import Event
from avel_cli.timeline.filters import select

Floats = NDArray[np.float32] | NDArray[np.float64]
Table = NDArray[np.float32]
Indices = NDArray[np.int64]

ALIKE = 0.5  # share of the higher score that the lower one needs for two parts to be one event
SHORTEST = 0.001  # seconds; less cannot be written down
_EMPTY = np.array([0, 0, 1e-6, -1], dtype=np.float32)[:, None]  # a place without a segment: overlaps nothing


class Grid(Protocol):
    """What decoding needs of a time grid, in seconds."""

    @property
    def start(self) -> float:
        """Begin of step 0."""
        ...

    @property
    def stride(self) -> float:
        """From the begin of one step to that of the next."""
        ...

    @property
    def window(self) -> float:
        """Length of a step."""
        ...


class Level(NamedTuple):
    """What a localizer says on one level of its pyramid, whose point `t` lies at step `t * stride`.

    Attributes:
        scores: probability of each class at each point, `[T, K]`, 0..1; 0 where the input was padding.
        offsets: distance of the event's begin and end from the point, `[T, K, 2]`, in units of `stride`, not negative.
        stride: steps between two points.
    """

    scores: Floats
    offsets: Floats
    stride: int


class Proposals(NamedTuple):
    """Scored segments of any class, not yet events.

    Attributes:
        segments: begin and end, `[N, 2]`, in steps.
        scores: `[N]`, 0..1.
        labels: class indices, `[N]`.
    """

    segments: Floats
    scores: Floats
    labels: Indices

    def take(self, index: Indices) -> Proposals:
        """Those at the given places, in that order."""
        return Proposals(self.segments[index], self.scores[index], self.labels[index])


class Kept(NamedTuple):
    """What Soft-NMS left: places in its input `[M]`, and their lowered scores `[M]`, highest first."""

    places: Indices
    scores: NDArray[np.float32]


def to_steps(seconds: ArrayLike, grid: Grid) -> NDArray[np.float64]:
    """Where moments lie on the grid: step `g` stands for the middle of its window. Slightly negative near 0."""
    return (np.asarray(seconds, dtype=np.float64) - grid.start - grid.window / 2) / grid.stride


def to_seconds(steps: ArrayLike, grid: Grid) -> NDArray[np.float64]:
    """The inverse of `to_steps`."""
    return np.asarray(steps, dtype=np.float64) * grid.stride + grid.start + grid.window / 2


def propose(
    levels: Iterable[Level], *, min_score: float = 0.001, top_k: int = 2000, min_length: float = 0.05
) -> Proposals:
    """The segments that a localizer proposes for one window, level by level, highest score first.

    Args:
        levels: at least one.
        min_score: proposals must score more, 0..1.
        top_k: the most proposals of one level.
        min_length: proposals must be longer, in steps.
    """
    parts = [_of_level(level, min_score, top_k) for level in levels]
    found = Proposals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return found.take(np.flatnonzero(found.segments[:, 1] - found.segments[:, 0] > min_length))


def _of_level(level: Level, min_score: float, top_k: int) -> Proposals:
    scores = level.scores.ravel()
    candidates = np.flatnonzero(scores > min_score)
    best = candidates[np.argsort(-scores[candidates], kind="stable")[:top_k]]
    points, labels = np.divmod(best, level.scores.shape[1])
    outward = level.offsets.reshape(-1, 2)[best] * np.array([-1, 1], dtype=level.offsets.dtype)
    return Proposals((points[:, None] + outward) * level.stride, scores[best], labels)


def soft_nms(
    segments: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    sigma: float = 0.4,
    min_score: float = 0.001,
    per_class: int = 100,
) -> Kept:
    """Soft-NMS with a gaussian, in each class by itself (Bodla et al., ICCV 2017; the details are UnAV's).

    In each class, again and again: the segment with the highest score is kept as it is, and every other score is
    multiplied by `exp(-overlap² / sigma)`; what falls below `min_score` is removed. The segment whose turn it is stays
    whatever its score. In float32. Equal scores of one class: the first in the list is taken, where a taken segment
    has changed places with the first remaining one, and the last one has moved to the place of a removed one. Equal
    scores of several classes: the lower label is first.

    All classes advance together, one kept segment of each in a round.

    Args:
        segments: begin and end, `[N, 2]`, in any unit that makes the shortest much longer than 1e-6.
        scores: `[N]`, not negative.
        labels: class of each segment, `[N]` integers.
        sigma: how far an overlap reaches.
        min_score: scores that are lowered below this are removed.
        per_class: the most segments kept of one class.
    """
    numbers = np.asarray(labels, dtype=np.int64)
    if not numbers.size:
        return Kept(np.empty(0, np.int64), np.empty(0, np.float32))
    table, places, counts = _by_class(np.asarray(segments, np.float32), np.asarray(scores, np.float32), numbers)
    for turn in range(per_class):
        waiting = np.flatnonzero(counts > turn)
        if not waiting.size:
            break
        rows, width = slice(waiting[-1] + 1), counts.max()
        _take_best(table[:, rows, turn:width], places[rows, turn:width])
        rest = table[:, rows, turn + 1 : width]
        _lower(rest, table[:, rows, turn, None], sigma)
        counts[rows] -= _close_gaps(rest, places[rows, turn + 1 : width], counts[rows] - turn - 1, min_score)
    kept = np.arange(table.shape[2]) < np.minimum(counts, per_class)[:, None]
    index, lowered = places[kept], table[3][kept]
    order = np.lexsort((numbers[index], -lowered))
    return Kept(index[order], lowered[order])


def _by_class(
    segments: NDArray[np.float32], scores: NDArray[np.float32], labels: Indices
) -> tuple[Table, Indices, Indices]:
    """One row for each class, full ones first: begin, end, length, score `[4, K, M]`, places `[K, M]`, counts `[K]`."""
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_size = np.argsort(-counts, kind="stable")  # late rounds then work on the first rows alone
    row_of = np.argsort(by_size)
    counts = counts[by_size]
    order = np.argsort(row_of[classes], kind="stable")
    rows = row_of[classes[order]]
    columns = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.tile(_EMPTY[..., None], (1, len(counts), counts[0]))
    begin, end = segments[order].T
    table[:, rows, columns] = begin, end, end - begin + _EMPTY[2], scores[order]
    places = np.zeros(table.shape[1:], np.int64)
    places[rows, columns] = order
    return table, places, counts


def _take_best(table: Table, places: Indices) -> None:
    """The segment with the highest score of each row changes places with that in column 0."""
    rows = np.arange(len(places))
    best = table[3].argmax(axis=1)
    taken, place = table[:, rows, best], places[rows, best]
    table[:, rows, best], places[rows, best] = table[:, :, 0], places[:, 0]
    table[:, :, 0], places[:, 0] = taken, place


def _lower(rest: Table, taken: Table, sigma: float) -> None:
    """Multiply the scores of `rest` `[4, R, M]` by the gaussian of their overlap with `taken` `[4, R, 1]`."""
    overlap = np.minimum(rest[1], taken[1])
    overlap -= np.maximum(rest[0], taken[0])
    np.maximum(overlap, 0, out=overlap)
    union = rest[2] + taken[2]
    union -= overlap
    overlap /= union
    overlap *= overlap
    overlap /= -np.float32(sigma)
    rest[3] *= np.exp(overlap, out=overlap)


def _close_gaps(rest: Table, places: Indices, counts: Indices, min_score: float) -> Indices:
    """Remove the scores below `min_score`; the last segments of a row fill its gaps. How many were removed, `[R]`."""
    alive = rest[3] >= min_score
    left = np.count_nonzero(alive, axis=1)
    removed: Indices = np.maximum(counts - left, 0)
    changed = np.flatnonzero(removed)
    if changed.size:
        alive = alive[changed]
        tail = np.arange(alive.shape[1]) >= left[changed, None]
        row, gap = np.nonzero(~alive & ~tail)
        _, from_end = np.nonzero((alive & tail)[:, ::-1])
        last, row = alive.shape[1] - 1 - from_end, changed[row]
        rest[:, row, gap], places[row, gap] = rest[:, row, last], places[row, last]
        row, column = np.nonzero(tail)
        rest[:, changed[row], column] = _EMPTY
    return removed


def merge_windows(windows: Iterable[tuple[int, Proposals]], *, per_window: int = 100) -> Proposals:
    """What Soft-NMS leaves of a file of any length, highest score first; one window is a file like any other.

    Of each window only those proposals are kept that Soft-NMS ranks first, with the scores they had before it; then
    one Soft-NMS over the whole file lowers them. For one window that changes nothing, because a score depends on
    those ranked before it alone; in longer files it is what bounds memory, to about 3 kB for each window. Last, the
    parts of an event that is longer than a window are joined.

    Args:
        windows: the step at which each begins, and its proposals, counted from there; read one by one. Each hands over
            to the next half-way from the next one's begin to that of the one after it.
        per_window: the most proposals of one window, all classes together.
    """
    parts, firsts = [], []
    for first, found in windows:
        best = found.take(soft_nms(*found, per_class=per_window).places[:per_window])
        parts.append(best._replace(segments=best.segments.astype(np.float64) + first))
        firsts.append(first)
    if not parts:
        return Proposals(np.empty((0, 2)), np.empty(0), np.empty(0, np.int64))
    merged = Proposals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    kept = soft_nms(merged.segments, merged.scores, _clusters(merged), per_class=len(merged.labels))
    of_window = np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts])
    return _joined(merged.take(kept.places)._replace(scores=kept.scores), of_window[kept.places], firsts)


def _joined(found: Proposals, of_window: Indices, firsts: Sequence[int]) -> Proposals:
    """One segment for each event of which consecutive windows each saw a part, highest score first.

    A part reaches across the step at which its window hands over to the next. There the best segment of a label of
    either window are one event, unless one scores less than half of the other; it has the higher score.
    """
    segments, scores = found.segments.copy(), found.scores.copy()
    single = np.ones(len(scores), bool)
    for window, (first, following) in enumerate(pairwise(firsts)):
        seam = following + (following - first) / 2
        across = single & (segments[:, 0] < seam) & (seam < segments[:, 1])
        for label in np.unique(found.labels[across]):
            sides = [np.flatnonzero(across & (of_window == w) & (found.labels == label)) for w in (window, window + 1)]
            if not all(side.size for side in sides):
                continue
            left, right = (side[scores[side].argmax()] for side in sides)
            if min(scores[left], scores[right]) >= ALIKE * max(scores[left], scores[right]):
                segments[right] = min(segments[[left, right], 0]), max(segments[[left, right], 1])
                scores[right] = max(scores[left], scores[right])
                single[left] = False
    order = np.argsort(-scores, kind="stable")
    return Proposals(segments, scores, found.labels).take(order[single[order]])


def _clusters(proposals: Proposals) -> Indices:
    """Proposals of one class that hang together get one number, `[N]`: apart, they cannot lower each other."""
    if not proposals.labels.size:
        return proposals.labels
    span = float(np.ptp(proposals.segments)) + 1
    begin, end = (proposals.segments + span * proposals.labels[:, None]).T  # classes one after the other
    order = np.argsort(begin, kind="stable")
    apart = begin[order][1:] >= np.maximum.accumulate(end[order])[:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(np.concatenate(([0], apart)))
    return numbers


def decode(
    proposals: Proposals,
    labels: Sequence[str],
    grid: Grid,
    *,
    duration: float,
    begin: float = 0.0,
    min_score: float = 0.0,
    min_duration: float = 0.0,
    keep: Collection[str] = (),
    top_k: int | None = None,
) -> tuple[Event, ...]:
    """Events in order of time, cut to `[begin, duration]`; they may overlap, those of one label too.

    Args:
        proposals: what `merge_windows` left.
        labels: name of each class, `[K]`.
        grid: where steps lie in time.
        duration: length of the file in seconds, or less where something ends before it.
        begin: where events can begin, in seconds.
        min_score: events that score less are dropped, 0..1.
        min_duration: events shorter than this many seconds are dropped.
        keep: labels to keep; empty keeps all.
        top_k: keep this many events, those with the highest scores.
    """
    seconds = to_seconds(proposals.segments, grid).clip(begin, max(begin, duration)).tolist()
    scores = proposals.scores.clip(0, 1).tolist()
    events = (
        Event(start, end, labels[label], score)
        for (start, end), score, label in zip(seconds, scores, proposals.labels.tolist(), strict=True)
        if end - start >= SHORTEST
    )
    return select(events, min_score=min_score, min_duration=min_duration, keep=keep, top_k=top_k)
