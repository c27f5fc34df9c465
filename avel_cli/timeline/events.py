"""The result types: an event, and the timeline of one file. Plain Python, frozen, sortable."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, order=True)
class Event:
    """Something seen and heard: half-open interval `[start, end)` in seconds, a label, a score in 0..1.

    Raises:
        ValueError: if the interval is empty or begins before 0, or the score is outside 0..1.
    """

    start: float
    end: float
    label: str
    score: float

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.end < float("inf") and 0 <= self.score <= 1):
            raise ValueError(f"no event: {self}")

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

    Raises:
        ValueError: if events are not in order, or one ends after the file does.
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

    def __post_init__(self) -> None:
        if any(later < earlier for earlier, later in pairwise(self.events)):
            raise ValueError(f"{self.file}: events are not in order of time")
        if any(event.end > self.duration for event in self.events):
            raise ValueError(f"{self.file}: an event ends after the file, at {self.duration} s")

    def write(self, path: str | Path) -> None:
        """Write the events in the format that the extension names; an existing file is replaced, whole or not at all.

        Raises:
            UsageError: if no format has this extension.
            InputError: if the file cannot be written.
        """
        from avel_cli.writers import write_file  # writers are made of timelines, so only on use

        write_file(self, Path(path))

    def to_frame(self) -> pd.DataFrame:
        """A table with one row per event and the columns `file, start, end, label, score`."""
        import pandas as pd  # slow to import, and few need it

        rows = [(self.file, *astuple(event)) for event in self.events]
        return pd.DataFrame(rows, columns=["file", "start", "end", "label", "score"])
