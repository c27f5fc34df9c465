"""Scores that are kept with a timeline, so that its events can be decoded again without the film. Plain JSON values.

`labels`, `clips` and `dense` are the kinds, by task. Scores are rounded to 0.0001, and what cannot become an event at
a lowest score of `LOWEST` is left out. The page of `avel report` decodes them with a port of the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avel_cli.timeline.events import Event, Modality
from avel_cli.timeline.labels import LabelScores

LOWEST = 0.01
DIGITS = 4

Kept = dict[str, Any]


def of_labels(
    scores: LabelScores, labels: Sequence[str], known_by: Sequence[Modality], modalities: Sequence[Modality]
) -> Kept:
    """Scores of every label by itself: `both`, `heard` and `seen`, each `[N][L]`."""
    rounded = [np.round(part, DIGITS) for part in scores]
    likely = np.flatnonzero(np.maximum.reduce(rounded).max(axis=0, initial=0) >= LOWEST).tolist()
    parts = dict(zip(scores._fields, (part[:, likely].tolist() for part in rounded), strict=True))
    kept = {"labels": [labels[k] for k in likely], "known_by": [known_by[k] for k in likely] if known_by else []}
    return {"kind": "labels", **kept, "modalities": list(modalities), **parts}


def of_clips(
    events: NDArray[np.float64], classes: NDArray[np.float64], labels: Sequence[str], threshold: float
) -> Kept:
    """Scores of one label a segment: `event_scores` `[N]`, and `class_scores` `[N][K]` of what is ever best."""
    rounded = np.round(classes, DIGITS)
    best = sorted(set(rounded.argmax(axis=1).tolist()))
    return {
        "kind": "clips",
        "labels": [labels[k] for k in best],
        "threshold": threshold,
        "event_scores": np.round(events, DIGITS).tolist(),
        "class_scores": rounded[:, best].tolist(),
    }


def of_proposals(proposals: Iterable[Event], labels: Sequence[str]) -> Kept:
    """Events that may overlap, before the less sure ones are dropped."""
    return {
        "kind": "dense",
        "labels": list(labels),
        "proposals": [asdict(event) for event in proposals if event.score >= LOWEST],
    }


def with_rules(kept: Kept, *, grid: Any, duration: float, parents: Mapping[str, str], **filters: Any) -> Kept:
    """The scores with what else decides about the events; `filters` are those of `filters.select`."""
    return {**kept, "grid": asdict(grid), "duration": duration, "begin": 0.0, "parents": dict(parents), **filters}
