"""What is judged of clips."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from avel_cli.datasets.ave_clips import of_clips
from avel_cli.tasks.clips import Clips
from tests.training.made_clips import MadeClips


class EverywhereAnAnvil(torch.nn.Module):
    """Says one category of every segment."""

    supervision = "full"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, audio: Tensor, visual: Tensor) -> SimpleNamespace:
        category = torch.nn.functional.one_hot(torch.zeros(len(audio), dtype=torch.int64), 3)
        return SimpleNamespace(event_logits=torch.ones(len(audio), 10), category_logits=category.float())


def test_what_fills_a_short_clip_is_in_no_figure() -> None:
    made = MadeClips(2)
    segments = torch.tensor([[0] * 4 + [3] * 6, [0, 0, 3, 3] + [3] * 6])
    made.labels = torch.nn.functional.one_hot(segments, 4).float()
    made.filled = (torch.arange(10) >= 4).repeat(2, 1)  # type: ignore[attr-defined]
    data = of_clips({"test": made}, made.names, ("vggish", "vgg19"))
    figures = Clips().figures(EverywhereAnAnvil(), data, "test")
    assert figures.score == figures.accuracy == 75
    assert (figures.segments, figures.background_rate, figures.event_f1) == (8, 0, 100)
    assert figures.confusion == ((6, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (2, 0, 0, 0))
    assert figures.reference == {"always background": 25, "perfect category, never background": 75}
