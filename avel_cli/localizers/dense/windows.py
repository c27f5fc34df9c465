"""What a dense localizer proposes for features of any length, window by window; `detect` and evaluation use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.timeline.proposals import Level, Proposals, propose


class Rows(NamedTuple):
    """Features of consecutive steps of one file.

    Attributes:
        audio: `[T, D]`.
        visual: `[T, D]`, or `[T, H, W, D]` for networks that look at positions.
        heard: `[T]`, bool: whether there is something to hear.
        seen: `[T]`, bool: whether there is something to see.
    """

    audio: Tensor
    visual: Tensor
    heard: Tensor
    seen: Tensor

    @property
    def present(self) -> Tensor:
        """Whether there is something to hear and to see, `[T]`; where there is not, there is no event."""
        return self.heard & self.seen

    @classmethod
    def of(cls, audio: Tensor, visual: Tensor) -> Rows:
        """Rows that are all present."""
        there = torch.ones(len(audio), dtype=torch.bool)
        return cls(audio, visual, there, there)

    def part(self, first: int, last: int | None = None) -> Rows:
        """The steps `[first, last)`."""
        return Rows(*(column[first:last] for column in self))

    def only(self, first: int, last: int) -> Rows:
        """The same with nothing present outside of the steps `[first, last)`."""
        steps = torch.arange(len(self.heard), device=self.heard.device)
        return self._replace(heard=self.heard & (first <= steps) & (steps < last))


@torch.inference_mode()
def propose_windows(
    localizer: nn.Module, blocks: Iterable[Rows], steps: int, *, min_score: float = 0.001
) -> Iterator[tuple[int, Proposals]]:
    """First step and proposals of each window of a file, for `timeline.proposals.merge_windows`.

    Windows are as long as those in training and begin every half of that; the last one, which ends with the file, is
    padded with zeros. Of each window only the middle half proposes, unless the file begins or ends there: a point near
    an edge sees but half of what is around it. No more rows are kept than a window has, and a block.

    Args:
        localizer: a dense localizer in evaluation mode.
        blocks: the rows of the file in order, any number at a time.
        steps: of a window; those that the localizer was trained with.
        min_score: proposals must score more, 0..1.
    """
    rows: Rows | None = None
    first = 0
    for block in blocks:
        rows = block if rows is None else Rows(*(torch.cat(columns) for columns in zip(rows, block, strict=True)))
        while len(rows.present) > steps:
            window = rows.part(0, steps).only(first and steps // 4, 3 * steps // 4)
            yield first, _proposed(localizer, window, steps, min_score)
            rows, first = rows.part(steps // 2), first + steps // 2
    if rows is not None:
        yield first, _proposed(localizer, rows.only(first and steps // 4, steps), steps, min_score)


def _proposed(localizer: nn.Module, rows: Rows, steps: int, min_score: float) -> Proposals:
    like = next(localizer.parameters())
    missing = steps - len(rows.present)
    audio, visual = (F.pad(part.to(like), (0, 0, 0, missing)).unsqueeze(0) for part in rows[:2])
    mask = torch.arange(steps, device=like.device).unsqueeze(0) < len(rows.present)
    output = localizer(audio, visual, mask)
    return propose(_levels(output, F.pad(rows.present.to(like.device), (0, missing))), min_score=min_score)


def _levels(output: DenseOutput, present: Tensor) -> list[Level]:
    """The levels of the one video in the output. A point is present if any step up to the next point is."""
    levels = []
    for logits, offsets, mask, stride in zip(*output[:4], strict=True):
        there = F.max_pool1d(present.float()[None], stride, stride, ceil_mode=True)[0].bool() & mask[0]
        scores = logits[0].float().sigmoid() * there.unsqueeze(-1)
        levels.append(Level(scores.cpu().numpy(), offsets[0].float().cpu().numpy(), stride))
    return levels
