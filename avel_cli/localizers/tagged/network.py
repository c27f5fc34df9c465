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
from avel_cli.localizers.base import LabelBatch, Localizer
from avel_cli.localizers.cace_net.loss import CACENetWeights, cace_net_loss
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig, CACENetOutput
from avel_cli.localizers.ccln.loss import CCLNWeights, ccln_loss
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig, CCLNOutput
from avel_cli.localizers.tagged.tags import Evidence, TaggedSizes, Tags, TagsConfig

Network = Literal["cace-net", "ccln"]
BOUND = 2.0  # log-odds that the network can take away


@dataclass(frozen=True)
class TaggedConfig(TaggedSizes):
    """The network, its own sizes and switches (feature widths and classes are filled in), and the tags.

    Raises:
        ValueError: if the sizes or switches of the network are wrong.
    """

    network: Network
    tags: TagsConfig
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.require_both()
        self.inner()

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


@dataclass(frozen=True)
class TaggedWeights:
    """Weights of the loss that the network inside is published with, beside cross-entropy of the labels.

    Attributes:
        cace_net: for CACE-Net.
        ccln: for CCLN.
    """

    cace_net: CACENetWeights = field(default_factory=lambda: CACENetWeights(0.1, skip_empty=True))
    ccln: CCLNWeights = field(default_factory=lambda: CCLNWeights(skip_empty=True))


class Tagged(Localizer):
    """A localizer of clips whose answer starts from its encoders' tags."""

    Config: ClassVar = TaggedConfig
    Loss: ClassVar = TaggedWeights
    task: ClassVar = "labels"
    smallest: ClassVar = {"tags": TagsConfig(1, 1, ((0,),), ((0,),), ((),))}
    config: TaggedConfig

    def __init__(self, config: TaggedConfig) -> None:
        super().__init__()
        self.config = config
        self.tags = Tags(config.tags)
        inner = config.inner()
        self.network = CACENet(inner) if isinstance(inner, CACENetConfig) else CCLN(inner)
        self.gain = nn.Parameter(torch.full((config.num_classes,), 0.1))
        self.known: Tensor | None = None  # which labels the training data hold; the others are left to the tags

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

    def loss(
        self, output: TaggedOutput, batch: LabelBatch, weights: TaggedWeights, state: nn.Module
    ) -> dict[str, Tensor]:
        """Cross-entropy of the known labels, and the published loss of the network, for which a segment has one label.

        Of several events in a segment the first label counts there.
        """
        known = slice(None) if self.known is None else self.known.to(batch.labels.device)
        labels = F.binary_cross_entropy_with_logits(output.label_logits[..., known], batch.labels[..., known])
        classes = torch.where(batch.labels.any(-1), batch.labels.argmax(-1), batch.labels.shape[-1])
        if isinstance(output.own, CCLNOutput):
            own = ccln_loss(output.own, classes, weights.ccln).total
        else:
            weight = weights.cace_net.contrastive if output.own.q is not None else 0.0
            own = cace_net_loss(output.own, classes, weight, skip_empty=weights.cace_net.skip_empty).total
        return {"total": labels + own, "labels": labels, "own": own}

    def settle(self) -> None:
        """Leave labels that there was nothing to learn of to the tags."""
        if self.known is not None:
            with torch.no_grad():
                self.gain[~self.known] = 0.0
