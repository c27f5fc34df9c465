"""Mean average precision of events in untrimmed videos, as UnAV-100 measures it. numpy only.

At a threshold, a prediction is right if its temporal intersection over union (tIoU) with an annotated event of its
class and video reaches the threshold and no better-scored prediction has taken that event. The average precision of a
class is the area under the envelope of its precision-recall curve, and the mean is over classes. All in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# 0.30000000000000004 and 0.7000000000000001 among them: an overlap of exactly 0.3 or 0.7 does not reach its threshold.
TIOUS: Floats = np.linspace(0.1, 0.9, 9)
SAME = 1e-3  # seconds; annotations of one label whose ends differ by no more are one
LENGTHS = (0.0, 2.0, 6.0, 20.0, float("inf"))  # seconds; about a quarter of UnAV-100's events lies in each range


class Rows(NamedTuple):
    """A table of events, one in each row.

    Attributes:
        videos: name of the video, `[N]`.
        segments: begin and end in seconds, `[N, 2]`.
        labels: index of the class, `[N]`.
    """

    videos: Sequence[str]
    segments: ArrayLike
    labels: ArrayLike


class Video(Protocol):
    """What the evaluation needs of an annotated video; see `Rows`."""

    @property
    def name(self) -> str:
        """Unique in the data set."""
        ...

    @property
    def segments(self) -> Floats:
        """Begin and end of its events in seconds, `[N, 2]`."""
        ...

    @property
    def duration(self) -> float:
        """In seconds."""
        ...

    @property
    def labels(self) -> Integers:
        """Class of its events, `[N]`."""
        ...


@dataclass(frozen=True)
class LengthRange:
    """How events of one range of lengths are found; predictions matched with others do not count for or against.

    Unmatched predictions count if their own length lies in the range.

    Attributes:
        shortest, longest: the range `[shortest, longest)` in seconds.
        events: annotated events in it.
        mean: mean average precision at each threshold in percent, `[9]`, over the classes that have such events.
    """

    shortest: float
    longest: float
    events: int
    mean: Floats

    @property
    def name(self) -> str:
        """The range, for people."""
        if self.longest == np.inf:
            return f"{self.shortest:g} s and longer"
        return f"{self.shortest:g} to {self.longest:g} s"


@dataclass(frozen=True)
class DetectionResult:
    """Average precision in percent, for `K` annotated classes at the nine thresholds `TIOUS`.

    Attributes:
        labels: index of each annotated class, ascending, `[K]`.
        names: the same as text, `[K]`.
        events: annotated events of each class, `[K]`.
        predictions: predictions of each class, `[K]`.
        precisions: the curves, one array `[9, events]` for each class: the highest precision, 0..1, at a recall of at
            least `1 / events, 2 / events, ... 1`; 0 where that recall is never reached. Their means are `ap`.
        by_length: the same for events of one length.
    """

    labels: tuple[int, ...]
    names: tuple[str, ...]
    events: tuple[int, ...]
    predictions: tuple[int, ...]
    precisions: tuple[Floats, ...]
    by_length: tuple[LengthRange, ...]

    @property
    def ap(self) -> Floats:
        """Average precision in percent, `[9, K]`."""
        return 100 * np.stack([curve.mean(axis=1) for curve in self.precisions], axis=1)

    @property
    def mean(self) -> Floats:
        """Mean over the classes at each threshold, in percent, `[9]`."""
        return _mean_of_classes(self.ap)

    @property
    def average(self) -> float:
        """The one figure that methods are compared by: the mean over classes and thresholds, in percent."""
        return float(self.mean.mean())

    def curve(self, name: str, tiou: float) -> tuple[Floats, Floats]:
        """Recall and precision `[events]`, 0..1, of a class at the threshold nearest to `tiou`, ready to be drawn.

        Raises:
            ValueError: if the name is not among `names`.
        """
        precision = self.precisions[self.names.index(name)][np.abs(TIOUS - tiou).argmin()]
        return np.arange(1, len(precision) + 1) / len(precision), precision

    unit: ClassVar = "mean average precision, %"
    reference: ClassVar[dict[str, float]] = {}

    @property
    def score(self) -> float:
        """The figure that chooses an epoch: the average."""
        return self.average

    def cells(self) -> dict[str, float]:
        """The figures of a row of a table, by column: those tIoUs that the literature prints."""
        return {f"{tiou:.1f}": value for tiou, value in zip(TIOUS[4:], self.mean[4:], strict=True)} | {
            "average": self.average
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, ready for JSON."""
        return {
            "tious": TIOUS.tolist(),
            "map": self.mean.tolist(),
            "average_map": self.average,
            "classes": [
                {"label": label, "name": name, "events": events, "predictions": predictions, "ap": ap}
                for label, name, events, predictions, ap in zip(
                    self.labels, self.names, self.events, self.predictions, self.ap.T.tolist(), strict=True
                )
            ],
            "lengths": [
                {"range": part.name, "events": part.events, "map": part.mean.tolist()} for part in self.by_length
            ],
        }


def annotated(videos: Iterable[Video]) -> Rows:
    """The annotated events of videos as a table."""
    chosen = list(videos)
    return Rows(
        [video.name for video in chosen for _ in video.labels],
        np.concatenate([video.segments for video in chosen]) if chosen else np.empty((0, 2)),
        np.concatenate([video.labels for video in chosen]) if chosen else np.empty(0, np.int64),
    )


def evaluate(
    truth: Rows, predictions: Rows, scores: ArrayLike, *, names: Mapping[int, str] | Sequence[str] | None = None
) -> DetectionResult:
    """Compare predictions with annotations.

    Annotations of one video and class that are the same to a millisecond count once. Classes are those annotated:
    predictions of other classes are dropped. (UnAV's own program renumbers annotated classes, and lets a prediction of
    a class without annotations pass for the class that has received its number; that matters only if a class is
    without events.) Predictions in videos without annotations are wrong.

    Predictions are taken by score, and of equal scores the later row first; a prediction looks at events by
    decreasing overlap, and of equal overlaps at the later row first.

    Args:
        truth: the annotated events of the whole split.
        predictions: in any order.
        scores: of the predictions, `[N]`.
        names: of the classes, by index; their numbers if absent.

    Raises:
        ValueError: if nothing is annotated, or columns differ in length.
    """
    events = _Events(truth)
    found = _Predictions(predictions, scores, events)
    matches = _match(events, found)
    labels = events.classes.tolist()
    return DetectionResult(
        tuple(labels),
        tuple(str(label) if names is None else names[label] for label in labels),
        tuple(np.bincount(events.labels, minlength=len(labels)).tolist()),
        tuple(np.bincount(found.labels, minlength=len(labels)).tolist()),
        tuple(_curves(events, found, matches >= 0, matches < 0, np.ones(len(events.labels), bool))),
        tuple(_of_length(events, found, matches, *bounds) for bounds in pairwise(LENGTHS)),
    )


class _Events:
    """Annotated events sorted by class and video, each once; `labels` are positions in `classes`."""

    def __init__(self, truth: Rows) -> None:
        segments, labels = _columns(truth)
        if not len(labels):
            raise ValueError("nothing is annotated, so there is nothing to compare with")
        self.classes, numbers = np.unique(labels, return_inverse=True)
        self.codes = {video: code for code, video in enumerate(dict.fromkeys(truth.videos))}
        keys = self.keys(truth.videos, numbers)
        kept = _without_repeats(keys, segments)
        order = kept[np.argsort(keys[kept], kind="stable")]
        self.segments, self.labels, self.sorted_keys = segments[order], numbers[order], keys[order]

    def keys(self, videos: Sequence[str], numbers: Integers) -> Integers:
        """One number for each pair of class and video, `[N]`; -1 for a video without annotations."""
        codes = np.array([self.codes.get(video, -1) for video in videos], dtype=np.int64)
        return np.where(codes < 0, -1, numbers * len(self.codes) + codes)


class _Predictions:
    """Predictions of annotated classes, sorted by class and then from the first to the last to be taken."""

    def __init__(self, predictions: Rows, scores: ArrayLike, events: _Events) -> None:
        segments, labels = _columns(predictions)
        values = np.asarray(scores, dtype=np.float64)
        if values.shape != labels.shape:
            raise ValueError(f"{len(labels)} predictions cannot have scores of shape {values.shape}")
        numbers = np.searchsorted(events.classes, labels).clip(max=len(events.classes) - 1)
        order = np.lexsort((-np.arange(len(labels)), -values, numbers))
        order = order[events.classes[numbers[order]] == labels[order]]
        self.segments, self.labels = segments[order], numbers[order]
        self.keys = events.keys(predictions.videos, numbers)[order]


def _columns(rows: Rows) -> tuple[Floats, Integers]:
    labels = np.asarray(rows.labels, dtype=np.int64)
    segments = np.asarray(rows.segments, dtype=np.float64).reshape(-1, 2)
    if not len(rows.videos) == len(segments) == len(labels):
        raise ValueError(f"{len(rows.videos)} videos, {len(segments)} segments and {len(labels)} labels are no table")
    return segments, labels


def _without_repeats(keys: Integers, segments: Floats) -> Integers:
    """Rows without those that repeat an earlier kept one of their video and class, ascending."""
    kept: dict[int, list[tuple[float, float]]] = {}
    rows = []
    for row, (key, (begin, end)) in enumerate(zip(keys.tolist(), segments.tolist(), strict=True)):
        others = kept.setdefault(key, [])
        if not any(abs(begin - b) <= SAME and abs(end - e) <= SAME for b, e in others):
            others.append((begin, end))
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _match(events: _Events, found: _Predictions) -> Integers:
    """The event that each prediction takes at each threshold, `[N, 9]`; -1 for none.

    One bit for each threshold: an overlap that reaches a threshold reaches all lower ones.
    """
    prediction, event, reached = _pairs(events, found)
    taken, missing = [0] * len(events.labels), [(1 << len(TIOUS)) - 1] * len(found.labels)
    hits = []
    for p, e, levels in zip(prediction.tolist(), event.tolist(), reached.tolist(), strict=True):
        new = ((1 << levels) - 1) & missing[p] & ~taken[e]
        if new:
            missing[p] ^= new
            taken[e] |= new
            hits.append((p, e, new))
    matches = np.full((len(found.labels), len(TIOUS)), -1)
    p, e, bits = np.array(hits, dtype=np.int64).reshape(-1, 3).T
    hit, threshold = np.nonzero(bits[:, None] >> np.arange(len(TIOUS)) & 1)
    matches[p[hit], threshold] = e[hit]
    return matches


def _pairs(events: _Events, found: _Predictions) -> tuple[Integers, Integers, Integers]:
    """Predictions and events of one video and class that overlap, in the order of matching; thresholds they reach."""
    first = np.searchsorted(events.sorted_keys, found.keys, side="left")
    counts = np.searchsorted(events.sorted_keys, found.keys, side="right") - first
    prediction = np.repeat(np.arange(len(counts)), counts)
    event = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    overlap = tiou(found.segments[prediction], events.segments[event])
    reached = np.searchsorted(TIOUS, overlap, side="right")
    order = np.lexsort((-event, -overlap, prediction))
    order = order[reached[order] > 0]
    return prediction[order], event[order], reached[order]


def tiou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of intervals `[..., 2]`, 0..1; 0 where an interval is empty or runs backwards."""
    shared = np.minimum(first[..., 1], second[..., 1]) - np.maximum(first[..., 0], second[..., 0])
    shared = np.maximum(shared, 0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - shared
    ratio: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return ratio


def _of_length(events: _Events, found: _Predictions, matches: Integers, shortest: float, longest: float) -> LengthRange:
    inside, unmatched = (
        (shortest <= lengths) & (lengths < longest)
        for lengths in (rows.segments[:, 1] - rows.segments[:, 0] for rows in (events, found))
    )
    right, wrong = (matches >= 0) & inside[matches], (matches < 0) & unmatched[:, None]
    curves = [curve for curve in _curves(events, found, right, wrong, inside) if curve.size]
    ap = np.array([curve.mean(axis=1) for curve in curves]).reshape(-1, len(TIOUS)).T
    return LengthRange(shortest, longest, int(inside.sum()), 100 * _mean_of_classes(ap))


def _curves(events: _Events, found: _Predictions, right: Flags, wrong: Flags, counted: Flags) -> list[Floats]:
    """`DetectionResult.precisions`, from right and wrong predictions `[N, 9]` and the events that count."""
    wanted = np.bincount(events.labels[counted], minlength=len(events.classes)).tolist()
    edges = np.searchsorted(found.labels, np.arange(len(events.classes) + 1)).tolist()
    return [
        _curve(right[first:last], wrong[first:last], count)
        for (first, last), count in zip(pairwise(edges), wanted, strict=True)
    ]


def _curve(right: Flags, wrong: Flags, events: int) -> Floats:
    """Envelope of the precision `[9, events]` of a class whose predictions come in order of score."""
    found = np.cumsum(right, axis=0)
    precision = found / np.maximum(found + np.cumsum(wrong, axis=0), 1)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    curve: Floats = np.zeros((len(TIOUS), events))
    row, threshold = np.nonzero(right)
    curve[threshold, found[row, threshold] - 1] = envelope[row, threshold]
    return curve


def _mean_of_classes(ap: Floats) -> Floats:
    """Mean over the last axis; 0 without classes."""
    mean: Floats = ap.sum(axis=1) / max(ap.shape[1], 1)
    return mean


def reference_points(videos: Sequence[Video]) -> dict[str, DetectionResult]:
    """What two answers come to that know the classes of each video; on UnAV-100's test split 29.0 and 45.4 on average.

    All scores are equal, and of these the later row counts first; another order gives the first answer 27.7.

    Args:
        videos: annotated ones; the first answer calls the whole of a video each of its classes, the second only what
            lies between the begin of its first and the end of its last event of the class.
    """

    def answer(span: Callable[[Video, Floats], tuple[float, float]]) -> DetectionResult:
        rows = [
            (video.name, span(video, video.segments[video.labels == label]), label)
            for video in videos
            for label in np.unique(video.labels).tolist()
        ]
        names, segments, labels = zip(*rows, strict=True)
        return evaluate(annotated(videos), Rows(names, segments, labels), np.ones(len(rows)))

    return {
        "right classes, whole video": answer(lambda video, _: (0.0, video.duration)),
        "right classes, from first to last": answer(lambda _, events: (events[:, 0].min(), events[:, 1].max())),
    }
