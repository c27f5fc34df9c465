"""Clips for tests of training: small features, events of three categories, some clips without any."""

from __future__ import annotations

import torch
from torch import Tensor

from avel_cli.datasets.ave import AVESample

SMALL = ("model.d_model=8", "schedule.batch=4", "schedule.epochs=4", "schedule.halve_at=[2]")
NO_DROPOUT = ("model.guide_dropout=0", "model.dropout=0", "model.fusion_dropout=0")
NO_DROPOUT_CCLN = ("model.input_dropout=0", "model.dropout=0")


class MadeClips:
    """`count` clips of ten segments with features 6 and 5 wide; what is heard and seen tells the category."""

    names = ("anvil", "bark", "church bell")

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        categories = torch.arange(count) % 4 % 3  # a fourth of the clips has no event
        start = torch.randint(0, 4, (count, 1), generator=rng)
        event = (torch.arange(10) >= start) & (torch.arange(10) < start + 5) & (torch.arange(count) % 4 < 3)[:, None]
        segments = torch.where(event, categories[:, None], 3)
        self.labels = torch.nn.functional.one_hot(segments, 4).float()
        self.bags = torch.nn.functional.one_hot(segments.amin(dim=1), 4).float()
        self.videos = torch.arange(count) // 2
        self.audio = torch.randn(count, 10, 6, generator=rng) + 2 * self.labels @ torch.eye(4, 6)
        self.visual = (
            torch.randn(count, 10, 2, 2, 5, generator=rng) + 2 * (self.labels @ torch.eye(4, 5))[:, :, None, None]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> AVESample:
        return AVESample(self.audio[index], self.visual[index], self.labels[index], self.bags[index])
