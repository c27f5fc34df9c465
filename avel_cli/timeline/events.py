"""The result types: an event, and the timeline of one file. Plain Python, frozen, sortable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, order=True)
class Event:
    """Something seen and heard: half-open interval `[start, end)` in seconds, a label, a score in 0..1."""

    start: float
    end: float
    label: str
    score: float

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """The events of one file, ordered by start, and where they came from.

    Attributes:
        file: path of the input as the user gave it.
        duration: length of the file in seconds.
        events: what was found; empty is a result, not an error.
        labels: every label the model could have said.
        reason: why there can be no event (no audio track, silence, …), or None.
        warnings: what the reader should know (decoded less than the container promises, …).
        media: facts about the file, JSON-ready.
        model: which weights, encoders and hashes produced this, JSON-ready.
        grid: start, stride and window of the segments in seconds.
        parameters: the thresholds and filters that were applied.
    """

    file: str
    duration: float
    events: tuple[Event, ...] = ()
    labels: tuple[str, ...] = ()
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    media: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
