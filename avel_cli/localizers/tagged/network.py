"""CACE-Net and CCLN beside the tags of their encoders: one answer for each label and segment.

The networks were made to choose one category for a clip. What pretrained tag heads know carries over to real footage
better than what a small network learns from composed clips: allowed to raise their scores, it said more wrong things
about real clips and found no more of the right ones. So the tags have the first word, and the network has a veto: where
its own logits, `event + category`, are below 0, they lower the tags', within bounds. Our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli import recipes
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig, CACENetOutput
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig, CCLNOutput
from avel_cli.localizers.tagged.tags import Evidence, Tags, TagsConfig

Network = Literal["cace-net", "ccln"]
BOUND = 2.0  # log-odds that the network can take away


@dataclass(frozen=True)
class TaggedConfig:
    """The network, its own sizes and switches (feature widths and classes are filled in), and the tags.

    Raises:
        ValueError: if the sizes or switches of the network are wrong.
    """

    network: Network
    tags: TagsConfig
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inner()

    @property
    def audio_dim(self) -> int:
        """Width of the audio features."""
        return self.tags.audio_dim

    @property
    def visual_dim(self) -> int:
        """Channels of the visual features."""
        return self.tags.visual_dim

    @property
    def num_classes(self) -> int:
        """Labels."""
        return len(self.tags.sounds)

    def inner(self) -> CACENetConfig | CCLNConfig:
        """The configuration of the network inside."""
        sizes = {"audio_dim": self.audio_dim, "visual_dim": self.visual_dim, "num_classes": self.num_classes}
        if self.network == "cace-net":
            return recipes.build(CACENetConfig, {**self.model, **sizes}, "model.")
        return recipes.build(CCLNConfig, {**self.model, **sizes}, "model.")


class TaggedOutput(NamedTuple):
    """What `Tagged` gives for `B` clips of `T` segments and `L` labels.

    Attributes:
        label_logits: `[B, T, L]`; each label for itself.
        evidence: what the tags alone say.
        own: what the network said, as it is trained with its own loss too.
    """

    label_logits: Tensor
    evidence: Evidence
    own: CACENetOutput | CCLNOutput


class Tagged(nn.Module):
    """A localizer of clips whose answer starts from its encoders' tags."""

    Config: ClassVar = TaggedConfig
    task: ClassVar = "labels"

    def __init__(self, config: TaggedConfig) -> None:
        super().__init__()
        self.config = config
        self.tags = Tags(config.tags)
        inner = config.inner()
        self.network = CACENet(inner) if isinstance(inner, CACENetConfig) else CCLN(inner)
        self.gain = nn.Parameter(torch.full((config.num_classes,), 0.1))

    def forward(self, audio: Tensor, visual: Tensor) -> TaggedOutput:
        """Logits of every label in every segment.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, H, W, visual_dim]`.
        """
        evidence = self.tags(audio, visual.mean(dim=(2, 3)))
        output = self.network(audio, visual)
        own = output.event_logits.unsqueeze(2) + output.category_logits.unsqueeze(1)
        veto = BOUND * torch.tanh(self.gain * F.relu(-own.float()))
        return TaggedOutput(evidence.logits - veto, evidence, output)
