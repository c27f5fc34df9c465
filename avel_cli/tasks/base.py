"""What every task gets and gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import nn

from avel_cli.localizers.dense.windows import Rows
from avel_cli.timeline.events import Event, Second
from avel_cli.timeline.grid import Grid

Show = Literal["both", "heard", "seen", "all"]


@dataclass(frozen=True)
class Decoding:
    """How the answers of a localizer for one file become events.

    Attributes:
        labels: of the model.
        parents: for a label the more general one that is said where it is not sure enough.
        grid: of the model.
        steps: of a window, for localizers that were trained on windows of one length; 0 for others.
        threshold: of the weights, 0..1; what it is compared with depends on the task.
        min_score: events, or segments, must score as much, 0..1.
        min_duration: shorter events are dropped, in seconds.
        keep: labels to keep; empty keeps all.
        top_k: keep so many events, those with the highest scores.
        show: list what is both heard and seen, or also what is only one of them.
        duration: of the file in seconds.
        begin: from when on there is both sound and picture.
        end: until when there is both.
    """

    labels: tuple[str, ...]
    grid: Grid
    duration: float
    begin: float
    end: float
    threshold: float
    min_score: float
    steps: int = 0
    parents: tuple[tuple[str, str], ...] = ()
    min_duration: float = 0.0
    keep: tuple[str, ...] = ()
    top_k: int | None = None
    show: Show = "both"


class Found(NamedTuple):
    """The events of a file, and what came closest.

    Attributes:
        events: in order of time.
        best: label and score of the best guess, also where it was not enough for an event; None if there was none.
        seconds: for each segment the best label and its score by sound, by picture and by both; empty for localizers
            that do not tell them apart.
    """

    events: tuple[Event, ...]
    best: tuple[str, float] | None = None
    seconds: tuple[Second, ...] = ()


class Task(Protocol):
    """Turns features into events."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """The events of a file whose rows come in order, any number at a time; no more of them is kept than needed."""
        ...
