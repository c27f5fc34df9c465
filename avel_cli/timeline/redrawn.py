"""Events decoded again from the scores that are kept with a timeline, at another lowest score. numpy only.

Scores come from files of strangers: whatever does not fit is refused. The page of `avel report` does the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avel_cli.timeline import labels, segments
from avel_cli.timeline.events import Event
from avel_cli.timeline.filters import select
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.kept import Kept

MODALITIES = ("both", "heard", "seen")


def redrawn(kept: Kept, min_score: float) -> tuple[Event, ...]:
    """The events that `avel detect --min-score` finds, to the rounding of the scores.

    Args:
        kept: the `scores` of a timeline.
        min_score: the lowest score that counts, 0..1.

    Raises:
        ValueError: if these are no such scores.
    """
    try:
        filters: dict[str, Any] = {
            "min_duration": _finite(kept["min_duration"]),
            "keep": _texts(kept["keep"]),
            "top_k": kept["top_k"],
        }
        events = DECODERS[kept["kind"]](kept, min_score, filters)
        begin = _finite(kept["begin"])
        return tuple(replace(event, start=event.start + begin, end=event.end + begin) for event in events)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"no kept scores: {error!r}") from None


def _of_labels(kept: Kept, min_score: float, filters: Mapping[str, Any]) -> tuple[Event, ...]:
    names = _texts(kept["labels"])
    known_by, modalities = _ways(kept["known_by"]), _ways(kept["modalities"])
    if len(known_by) not in (0, len(names)):
        raise ValueError("how labels are known does not fit them")
    scores = labels.LabelScores(*(_scores(kept[way], len(names)) for way in MODALITIES))
    if len({part.shape for part in scores}) > 1:
        raise ValueError("scores of different lengths")
    how: dict[str, Any] = {
        "parents": _parents(kept),
        "modalities": modalities,
        "known_by": known_by,
        "min_alone": min_score,
    }
    grid, duration = _grid(kept), _finite(kept["duration"])
    return labels.decode(scores, names, grid, duration=duration, min_score=min_score, **how, **filters)


def _of_clips(kept: Kept, min_score: float, filters: Mapping[str, Any]) -> tuple[Event, ...]:
    names = _texts(kept["labels"])
    classes = _scores(kept["class_scores"], len(names))
    events = _scores([kept["event_scores"]], len(classes))[0]
    scores = segments.SegmentScores(len(names))
    for place, (event, row) in enumerate(zip(events, classes, strict=True)):
        scores.add(place, [event], row)
    how: dict[str, Any] = {"count": len(classes), "threshold": _finite(kept["threshold"]), "min_score": min_score}
    return segments.decode(scores, names, _grid(kept), duration=_finite(kept["duration"]), **how, **filters)


def _of_proposals(kept: Kept, min_score: float, filters: Mapping[str, Any]) -> tuple[Event, ...]:
    names = _texts(kept["labels"])
    every = [Event(**proposal) for proposal in kept["proposals"]]
    if not {event.label for event in every} <= set(names):
        raise ValueError("a proposal of an unknown label")
    sure = labels.most_special(select(every, min_score=min_score), names, _parents(kept))
    return select(sure, **filters)


DECODERS = {"labels": _of_labels, "clips": _of_clips, "dense": _of_proposals}


def _scores(rows: Any, width: int) -> NDArray[np.float64]:
    """`[N, width]`, each in 0..1."""
    values = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a score outside 0 to 1")
    return values


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _texts(values: Any) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a label is no text")
    return tuple(values)


def _ways(values: Any) -> tuple[Any, ...]:
    if not set(values) <= set(MODALITIES):
        raise ValueError("a way to know a label that is none")
    return tuple(values)


def _parents(kept: Kept) -> dict[str, str]:
    return dict(zip(_texts(kept["parents"]), _texts(kept["parents"].values()), strict=True))


def _grid(kept: Kept) -> Grid:
    return Grid(*(_finite(kept["grid"][name]) for name in ("start", "stride", "window")))
