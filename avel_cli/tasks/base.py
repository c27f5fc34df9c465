"""What every task gets and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import nn

from avel_cli.localizers.dense.windows import Rows
from avel_cli.timeline.events import Event, Modality, Second
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.kept import Kept, with_rules

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
        known_by: how each label can be known; empty if all by both.
        min_alone: what labels that are known by one of them must score.
        keep_scores: give the scores too, so that events can be decoded again.
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
    known_by: tuple[Modality, ...] = ()
    min_alone: float = 0.0
    keep_scores: bool = False

    def kept(self, make: Callable[..., Kept], *scores: Any) -> Kept | None:
        """What `make`, of `timeline.kept`, gives for the scores, with the rules; None unless that was asked for."""
        if not self.keep_scores:
            return None
        rules = {"min_duration": self.min_duration, "keep": self.keep, "top_k": self.top_k}
        return with_rules(make(*scores), grid=self.grid, duration=self.duration, parents=dict(self.parents), **rules)


class Found(NamedTuple):
    """The events of a file, and what came closest.

    Attributes:
        events: in order of time.
        best: label and score of the best guess, also where it was not enough for an event; None if there was none.
        seconds: for each segment the best label and its score by sound, by picture and by both; empty for localizers
            that do not tell them apart.
        scores: see `timeline.kept`; None unless asked for.
    """

    events: tuple[Event, ...]
    best: tuple[str, float] | None = None
    seconds: tuple[Second, ...] = ()
    scores: Kept | None = None


class Reported(Protocol):
    """A system with the figures that its source reports, in columns as `Figures.cells` has them."""

    @property
    def system(self) -> str:
        """Its name."""
        ...

    @property
    def source(self) -> str:
        """Where the figures stand."""
        ...

    def cells(self) -> dict[str, float]:
        """Percentages by column."""
        ...


class Figures(Protocol):
    """What a localizer comes to on a part of some data, in percent.

    Attributes:
        unit: what `score` is, for people.
        reference: answers that need no localizer, by name.
    """

    unit: ClassVar[str]

    @property
    def reference(self) -> Mapping[str, float]:
        """Answers that need no localizer, by name."""
        ...

    @property
    def score(self) -> float:
        """The figure that chooses an epoch."""
        ...

    def cells(self) -> dict[str, float]:
        """The figures of a row of a table, by column."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        ...


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on.

    Attributes:
        parts: `train`, `val` and `test`, those that were asked for; what they are depends on the task.
        labels: names of the classes.
        sizes: `audio_dim` and `visual_dim` of the features, where the network is built from them.
        encoders: that made the features: of sound, then of pictures.
        grid: of the features.
        truth: annotated events of the parts, for tasks that need them beside the parts.
        parents: for a label the more general one that is said where it is not sure enough.
        reported: figures of others on the same test part.
        baselines: figures of answers that need no localizer, on the test part, where they are tables of their own.
        note: what is to be said of the data before it is used.
        digest: tells data apart, so that a run does not go on with other data.
        network: builds the network from a recipe where sizes are not enough.
    """

    parts: Mapping[Any, Any]
    labels: tuple[str, ...]
    sizes: Mapping[str, int]
    encoders: tuple[str, ...]
    grid: Grid = field(default_factory=Grid)
    truth: Mapping[Any, Any] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()
    baselines: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    digest: str = ""
    network: Callable[[Any], nn.Module] | None = None


class Task(Protocol):
    """Turns features into events, and measures localizers on data with known answers."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """The events of a file whose rows come in order, any number at a time; no more of them is kept than needed."""
        ...

    def figures(self, network: Any, data: Data, part: str) -> Figures:
        """How well a localizer, in evaluation mode on any device, does on a part of the data."""
        ...
