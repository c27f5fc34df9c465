"""Untrimmed videos with any number of events, as dense localizers learn from them: samples, batches, training crops.

Positions are in steps of the features' grid, fractions allowed; `timeline.proposals` converts seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from avel_cli.localizers.base import DenseBatch

_MULTIPLE = 32  # stride of the coarsest of a dense localizer's six levels


class Sample(NamedTuple):
    """A video, or a training crop of it, with `T` steps and `N` events.

    Attributes:
        name: of the video.
        duration: of the whole video in seconds.
        audio: `[T, D]`, float32.
        visual: `[T, D]`, float32.
        segments: begin and end of its events in steps from the first row, `[N, 2]`, float32; slightly negative or
            beyond the end where an event reaches half a window over.
        labels: `[N]`, int64.
    """

    name: str
    duration: float
    audio: Tensor
    visual: Tensor
    segments: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Cropping:
    """How training crops are drawn.

    Attributes:
        reach: steps by which events may stick out of a crop.
        least: crops have at least this share of what a window allows.
    """

    reach: float = 0.0
    least: float = 0.9


def collate(samples: Sequence[Sample], steps: int) -> DenseBatch:
    """Pad to `steps`, or if one sample is longer to the next multiple of 32."""
    longest = max(len(sample.audio) for sample in samples)
    if longest > steps:
        steps = math.ceil(longest / _MULTIPLE) * _MULTIPLE
    audio, visual = (
        torch.stack([F.pad(part, (0, 0, 0, steps - len(part))) for part in parts])
        for parts in ([sample.audio for sample in samples], [sample.visual for sample in samples])
    )
    lengths = torch.tensor([len(sample.audio) for sample in samples])
    *_, segments, labels = zip(*samples, strict=True)
    return DenseBatch(audio, visual, torch.arange(steps) < lengths[:, None], segments, labels)


class Crop(NamedTuple):
    """A window `[first, first + steps)` and the events left in it: which ones `[N]`, bool, and where `[kept, 2]`."""

    first: int
    steps: int
    kept: Tensor
    segments: Tensor


def crop(
    length: int,
    segments: Tensor,
    *,
    longest: int,
    reach: float = 0.0,
    least: float = 0.9,
    share: float = 0.5,
    draws: int = 200,
    rng: Generator | None = None,
) -> Crop:
    """Draw a window of `least` to 1 times the length, and at most `longest` steps, that has an event in it.

    Events with less than `share` of their length inside are dropped, the others cut and counted from the window's
    begin. After so many `draws` without any event the window may be one without.

    Args:
        length: steps of the video.
        segments: begin and end of its events in steps, `[N, 2]`.
        longest: windows of longer videos have exactly this length.
        reach: steps beyond both ends that still count as inside.
        rng: torch's own generator if absent, which a loader seeds anew in each worker and epoch.
    """
    steps = longest
    if length <= longest:
        steps = int(torch.randint(max(round(least * length), 1), length + 1, (), generator=rng))
    if steps == length:
        return Crop(0, length, torch.ones(len(segments), dtype=torch.bool), segments)
    for _ in range(draws):
        first = int(torch.randint(length - steps + 1, (), generator=rng))
        inside = segments.clamp(first - reach, first + steps + reach)
        kept = inside.diff(dim=1) >= share * segments.diff(dim=1)
        if kept.any():
            break
    return Crop(first, steps, kept[:, 0], inside[kept[:, 0]] - first)
