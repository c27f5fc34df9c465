"""Cross-modal localization: given the event in one modality, where is it in the other? The protocol of AVE-ECCV18.

The query is the event as it is heard (A2V) or seen (V2A); of all windows of its length in the other modality, the one
whose segments are closest to the query's counts as the answer, and only the exact start is right. Because the length is
given and most events touch an end of their clip, position alone scores high: every result belongs beside
`position_baselines`, and features must not know where in the clip they are (`segment_by_segment`).

The protocol has lists of its own, which split the clips of AVE anew: weights trained on one kind of list have seen most
of the other kind's test clips (`overlap`) and must not be scored on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

SQUARED_EPSILON = 1e-7  # no smaller squared distance is told apart, as published
NOTE = "CCLN as reconstructed from its abstract; its own figures are not known"
Lists = Literal["localization", "cross-modal localization"]
Embed = Callable[[Tensor], Tensor]


class Window(NamedTuple):
    """Segments `start` to `end` (not included) and their mean Euclidean distance to those of the query."""

    start: int
    end: int
    distance: float


class CrossModalAccuracy(NamedTuple):
    """Percentage of `clips` whose window was found exactly: the picture for a sound (A2V), the sound for a picture."""

    a2v: float
    v2a: float
    clips: int

    @property
    def mean(self) -> float:
        """Of both directions."""
        return (self.a2v + self.v2a) / 2


class PositionBaselines(NamedTuple):
    """What the same clips give without looking or listening, in percent; `first` is also what ties give."""

    random: float
    first: float
    last: float


@dataclass(frozen=True)
class CrossModalFigures:
    """What a localizer finds, beside what position alone finds on the same clips; all in percent.

    Attributes:
        lists: whose test clips these are.
        alone: whether every segment was embedded by itself; else position may have helped.
        accuracy: of the localizer.
        baselines: of position.
    """

    lists: Lists
    alone: bool
    accuracy: CrossModalAccuracy
    baselines: PositionBaselines
    unit: ClassVar = "windows found, %"

    @property
    def score(self) -> float:
        """The figure that chooses an epoch: the mean of both directions."""
        return self.accuracy.mean

    @property
    def reference(self) -> dict[str, float]:
        """What position alone finds."""
        return {f"position alone: {name}": value for name, value in self.baselines._asdict().items()}

    def cells(self) -> dict[str, float]:
        """The figures of a row of a table, by column."""
        found = self.accuracy
        return {"A2V": found.a2v, "V2A": found.v2a, "mean of both": found.mean}

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        figures = {**self.accuracy._asdict(), "mean": self.accuracy.mean, "position alone": self.baselines._asdict()}
        return {"lists": self.lists, "segments by themselves": self.alone, "note": NOTE, **figures}


def overlap(trained: Tensor, scored: Tensor) -> int:
    """How many of the clips to be scored were trained on; both are rows of AVE."""
    return int(torch.isin(scored, trained).sum())


def window_costs(query: Tensor, target: Tensor) -> Tensor:
    """Sum of the Euclidean distances between the query and each window of its length: `[T - L + 1]`.

    Args:
        query: features `[L, D]` of one modality.
        target: features `[T, D]` of the other.

    Raises:
        ValueError: if the query is empty or longer than the target.
    """
    starts = len(target) - len(query) + 1
    if not len(query) or starts < 1:
        raise ValueError(f"a query of {len(query)} segments has no window in {len(target)}")
    distances = torch.cdist(query, target, compute_mode="donot_use_mm_for_euclid_dist").clamp(min=SQUARED_EPSILON**0.5)
    return torch.stack([distances.diagonal(start).sum() for start in range(starts)])


def rank_windows(query: Tensor, target: Tensor) -> list[Window]:
    """All windows of the query's length, the closest first and of equals the earliest; arguments as `window_costs`."""
    costs = window_costs(query, target)
    length = len(query)
    starts = costs.argsort(stable=True).tolist()
    return [Window(start, start + length, costs[start].item() / length) for start in starts]


def segment_by_segment(embed: Embed) -> Embed:
    """The same embedding without context: each segment `[B, T, ...]` is embedded as if it were a clip of its own."""

    def alone(features: Tensor) -> Tensor:
        return embed(features.flatten(0, 1).unsqueeze(1)).reshape(*features.shape[:2], -1)

    return alone


def as_it_is(features: Tensor) -> Tensor:
    """No embedding: the features are comparable already."""
    return features


def askable(events: Tensor) -> list[int]:
    """The clips that have an answer: some segments are events and some are not.

    The published script leaves out clips that are all event; one without any would stop it, and is left out here too.

    Args:
        events: `[N, T]`, bool.

    Raises:
        ValueError: if there is no such clip.
    """
    clips: list[int] = (events.any(dim=1) & ~events.all(dim=1)).nonzero().flatten().tolist()
    if not clips:
        raise ValueError("every clip is all event or all background; there is nothing to be found in them")
    return clips


def position_baselines(events: Tensor) -> PositionBaselines:
    """What a random, the first and the last window give on the clips `events [N, T]`, bool, that can be asked for."""
    asked = events[askable(events)]
    length, start = asked.sum(dim=1), asked.int().argmax(dim=1)
    windows = asked.shape[1] - length + 1
    right = 1 / windows, start == 0, start == windows - 1
    return PositionBaselines(*(100 * share.double().mean().item() for share in right))


@torch.inference_mode()
def cross_modal_accuracy(
    audio: Tensor, visual: Tensor, events: Tensor, embed_audio: Embed = as_it_is, embed_visual: Embed = as_it_is
) -> CrossModalAccuracy:
    """A2V and V2A over all clips that are part event, part background. Of a query, an embedding sees nothing else.

    Args:
        audio: `[N, T, ...]`, for `embed_audio` to make `[1, T, D]` of each clip `[1, T, ...]`.
        visual: the same for `embed_visual`.
        events: `[N, T]`, bool; the event of a clip lies in one piece.
        embed_audio: of the network, in evaluation mode; for figures to be reported, `segment_by_segment` of it.
        embed_visual: the same.

    Raises:
        ValueError: if no clip can be asked for.
    """
    asked = askable(events)
    a2v = v2a = 0
    for clip in asked:
        event, sound, picture = events[clip], audio[clip], visual[clip]
        start = int(event.int().argmax())
        heard, heard_event = (embed_audio(part.unsqueeze(0))[0] for part in (sound, sound[event]))
        seen, seen_event = (embed_visual(part.unsqueeze(0))[0] for part in (picture, picture[event]))
        a2v += rank_windows(heard_event, seen)[0].start == start
        v2a += rank_windows(seen_event, heard)[0].start == start
    return CrossModalAccuracy(100 * a2v / len(asked), 100 * v2a / len(asked), len(asked))
