"""LoCo on the tags of its encoders: the same small network looks at each label's own curves.

Its audio is how much a label is heard, its picture how much that label is seen, step by step. It never learns which
label that is, so what it learns from a few composed labels, where events begin and end and what is only half of one,
holds for all of them. Our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from avel_cli import recipes
from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.localizers.dense.localizer import DenseLocalizer
from avel_cli.localizers.loco.network import LoCo, LoCoConfig
from avel_cli.localizers.tagged.tags import LEAST, TaggedSizes, Tags, TagsConfig

ABSENT = -20.0  # logit of a label that is not looked at
FAINT = 0.1  # a label whose tags never say more is not looked at


@dataclass(frozen=True)
class TaggedLoCoConfig(TaggedSizes):
    """The tags, and the sizes and switches of the network; its feature widths and its one class are filled in.

    Attributes:
        known: labels that there is something to learn of; in training the others are not looked at.
        max_seq_len: steps of a window.
    """

    tags: TagsConfig
    known: tuple[int, ...] = ()
    max_seq_len: int = 256
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.require_both()
        self.inner()

    def inner(self) -> LoCoConfig:
        """The configuration of the network inside."""
        sizes = {"audio_dim": 1, "visual_dim": 1, "num_classes": 1, "max_seq_len": self.max_seq_len}
        return recipes.build(LoCoConfig, {**self.model, **sizes}, "model.")


class TaggedLoCo(DenseLocalizer):
    """A dense localizer of every label that its encoders have tags of."""

    Config: ClassVar = TaggedLoCoConfig
    smallest: ClassVar = {"tags": TagsConfig(1, 1, ((0,),), ((0,),), ((),))}
    config: TaggedLoCoConfig

    def __init__(self, config: TaggedLoCoConfig) -> None:
        super().__init__()
        self.config = config
        self.tags = Tags(config.tags)
        self.network = LoCo(config.inner())

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor) -> DenseOutput:
        """Logits and offsets of every label at the points of every level, see `LoCo`."""
        evidence = self.tags(audio, visual)
        there = mask.unsqueeze(2)
        if self.training:
            chosen = torch.tensor(self.config.known, device=audio.device)
        else:
            loudest = (evidence.logits.sigmoid() * there).amax(dim=(0, 1))
            chosen = (loudest > FAINT).nonzero().flatten()
        if not len(chosen):
            chosen = torch.zeros(1, dtype=torch.int64, device=audio.device)
        heard, seen = (self._curves(part, chosen, there) for part in (evidence.heard, evidence.seen))
        output: DenseOutput = self.network(heard, seen, mask.repeat_interleave(len(chosen), dim=0))
        logits = tuple(self._spread(part, chosen, len(audio), ABSENT) for part in output.logits)
        offsets = tuple(self._spread(part, chosen, len(audio), 0.0) for part in output.offsets)
        masks = tuple(part[:: len(chosen)] for part in output.masks)
        return DenseOutput(logits, offsets, masks, output.strides)

    @staticmethod
    def _curves(probabilities: Tensor, chosen: Tensor, there: Tensor) -> Tensor:
        """Log-odds of the chosen labels, each a sequence of its own: `[B * C, T, 1]` of `[B, T, L]`."""
        curves = probabilities[..., chosen].logit(LEAST) * there
        return curves.transpose(1, 2).flatten(0, 1).unsqueeze(2)

    def _spread(self, part: Tensor, chosen: Tensor, batch: int, absent: float) -> Tensor:
        """`[B, T_l, L, ...]` of what the network says of the chosen labels, `[B * C, T_l, 1, ...]`."""
        found = part.unflatten(0, (batch, -1)).squeeze(3).transpose(1, 2)  # [B, T_l, C, ...]
        shape = (*found.shape[:2], self.config.num_classes, *found.shape[3:])
        spread: Tensor = found.new_full(shape, absent).index_copy(2, chosen, found)
        return spread
