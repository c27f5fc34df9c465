"""Untrimmed video: events of any length that may overlap, proposed window by window."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from avel_cli.localizers.dense.windows import Rows, propose_windows
from avel_cli.tasks.base import Decoding, Found
from avel_cli.timeline import proposals
from avel_cli.timeline.filters import select
from avel_cli.timeline.labels import most_special
from avel_cli.timeline.proposals import merge_windows


class Dense:
    """UnAV's and LoCo's answer: proposals with a score for each class."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """See `tasks.base.Task`. Events lie where there is both sound and picture."""
        found = merge_windows(propose_windows(network, blocks, how.steps, min_score=how.threshold))
        every = proposals.decode(found, how.labels, how.grid, begin=how.begin, duration=how.end)
        best = max(every, key=lambda event: event.score, default=None)
        sure = most_special(select(every, min_score=how.min_score), how.labels, dict(how.parents))
        events = select(sure, min_duration=how.min_duration, keep=how.keep, top_k=how.top_k)
        return Found(events, (best.label, best.score) if best else None)
