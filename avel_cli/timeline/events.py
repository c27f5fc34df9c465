"""The result types: an event, and the timeline of one file. Plain Python, frozen, sortable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

Modality = Literal["both", "heard", "seen"]


@dataclass(frozen=True, order=True)
class Event:
    """Something seen and heard: half-open interval `[start, end)` in seconds, a label, a score in 0..1.

    Attributes:
        heard: how sure it is that the label is heard, the mean over the event, 0..1; None where a model does not tell.
        seen: the same of what is seen.
        modality: `both`; or `heard` or `seen` alone, where that was asked for.

    Raises:
        ValueError: if the interval is empty or begins before 0, or a score is outside 0..1.
    """

    start: float
    end: float
    label: str
    score: float
    heard: float | None = field(default=None, compare=False)
    seen: float | None = field(default=None, compare=False)
    modality: Modality = "both"

    def __post_init__(self) -> None:
        scores = [score for score in (self.score, self.heard, self.seen) if score is not None]
        if not (0 <= self.start < self.end < float("inf") and all(0 <= score <= 1 for score in scores)):
            raise ValueError(f"no event: {self}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


class Second(NamedTuple):
    """The best labels of one segment, each with its score in 0..1."""

    start: float
    heard: tuple[str, float]
    seen: tuple[str, float]
    both: tuple[str, float]


@dataclass(frozen=True, repr=False)
class Timeline:
    """The events of one file, ordered by start, and where they came from.

    Attributes:
        file: path of the input as the user gave it.
        duration: length of the file in seconds.
        events: what was found; empty is a result, not an error.
        labels: every label the model could have said.
        reason: why there can be no event (no audio track, silence, …), or None.
        best: label and score of the best guess, also where it was not enough for an event; None if there was none.
        warnings: what the reader should know (decoded less than the container promises, …).
        media: facts about the file, JSON-ready.
        model: which weights, encoders and hashes produced this, JSON-ready.
        grid: start, stride and window of the segments in seconds.
        parameters: the thresholds and filters that were applied.
        seconds: the best labels of each segment by sound, by picture and by both, for models that tell them apart.
        scores: those of each label in each segment, JSON-ready, where they were asked for; see `timeline.kept`.

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
    best: tuple[str, float] | None = None
    seconds: tuple[Second, ...] = ()
    scores: dict[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if any(later < earlier for earlier, later in pairwise(self.events)):
            raise ValueError(f"{self.file}: events are not in order of time")
        if any(event.end > self.duration for event in self.events):
            raise ValueError(f"{self.file}: an event ends after the file, at {self.duration} s")

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __bool__(self) -> bool:
        return True  # a timeline without events is a result

    def __repr__(self) -> str:
        return f"<Timeline of {self.file}: {len(self)} events in {self.duration:.1f} s>"

    def _repr_html_(self) -> str:
        """The events as a table, for notebooks; names are escaped."""
        cells = [[f"{e.start:.2f}", f"{e.end:.2f}", escape(e.label), f"{e.score:.2f}"] for e in self.events]
        rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
        head = "".join(f"<th>{name}</th>" for name in ("start", "end", "label", "score"))
        return f"<table><caption>{escape(self.file)}</caption><tr>{head}</tr>{rows}</table>"

    @classmethod
    def read(cls, path: str | Path) -> Timeline:
        """The timeline in a JSON file that `write` or `avel detect -f json` wrote.

        Raises:
            InputError: if the file cannot be read, or is not such a timeline.
        """
        from avel_cli.writers.data import read_json

        return read_json(Path(path))

    def write(self, path: str | Path) -> None:
        """Write the events in the format that the extension names; an existing file is replaced, whole or not at all.

        Raises:
            UsageError: if no format has this extension.
            InputError: if the file cannot be written.
        """
        from avel_cli.writers import write_file  # writers are made of timelines, so only on use

        write_file(self, Path(path))

    def to_frame(self) -> pd.DataFrame:
        """A table with one row per event: the columns `file, start, end, label, score, heard, seen, modality`."""
        import pandas as pd  # slow to import, and few need it

        rows = [(self.file, *astuple(event)) for event in self.events]
        return pd.DataFrame(rows, columns=["file", *(field.name for field in fields(Event))])
