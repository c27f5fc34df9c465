"""CACE-Net with weak supervision: a reconstruction, which no paper or working code gives.

Its authors publish no weak figure, and their weak network cannot run. This is their co-guidance in front of the weakly
supervised CMBS (github.com/marmot-xy/CMBS), which they build on: no LSTM, wider feed-forward networks, half the heads
in the interaction, gates that mix instead of amplify, and one score a clip for each category and for "no event".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from avel_cli.localizers.base import ClipBatch, Localizer, Supervision
from avel_cli.localizers.cace_net.loss import bag_loss
from avel_cli.localizers.cace_net.network import (
    TOP_SEGMENTS,
    CACENetConfig,
    CoGuidance,
    CrossModalDecoder,
    Guide,
    Interaction,
    TemporalEncoder,
    adapter,
)

HEADS = 2  # of the interaction
CERTAIN = 1e-6  # gates are kept this far from 0 and 1, where they have no logit


@dataclass(frozen=True)
class WeakCACENetConfig:
    """Sizes and constants; attributes as those of `CACENetConfig`, numbers those of CMBS where it has them.

    Unlike there, `dropout` is also that after the adapters; `guide_dropout` is that of the attentions of the guidance.

    Raises:
        ValueError: as `CACENetConfig`.
    """

    audio_dim: int = 128
    visual_dim: int = 512
    num_classes: int = 28
    d_model: int = 256
    guide: Guide = "co-guide"
    psi: float = 0.3
    beta: float = 0.5
    alpha: float = 0.2
    gamma: float = 0.5
    guide_dropout: float = 0.2
    dropout: float = 0.1
    fusion_dropout: float = 0.2

    def __post_init__(self) -> None:
        self.shared()

    def shared(self) -> CACENetConfig:
        """The same for the parts that both networks have."""
        return CACENetConfig(**vars(self), contrastive=False)


class WeakCACENetOutput(NamedTuple):
    """What `WeakCACENet` gives for `B` clips of `T` segments.

    Attributes:
        event_logits: `[B, T]`, logits of the joint gate; above 0, the segment holds an event.
        category_logits: `[B, K]`, the first of `clip_logits`.
        clip_logits: `[B, K + 1]`, the last one for "no event at all".
    """

    event_logits: Tensor
    category_logits: Tensor
    clip_logits: Tensor

    @property
    def decodable(self) -> tuple[Tensor, Tensor]:
        """What `decode_segments` takes: where "no event at all" is the best of the clip, no segment is an event."""
        empty = self.clip_logits.argmax(dim=1, keepdim=True) == self.category_logits.shape[1]
        return self.event_logits.masked_fill(empty, -torch.inf), self.category_logits


class WeakStream(nn.Module):
    """Everything that audio and vision each have for themselves after the guidance."""

    def __init__(self, in_features: int, config: CACENetConfig) -> None:
        super().__init__()
        width, dropout = config.d_model, config.dropout
        self.encoder = TemporalEncoder(in_features, width, dropout, hidden=8 * width)
        self.decoder = CrossModalDecoder(in_features, width, dropout, hidden=4 * width)
        self.gate = nn.Linear(width, 1)
        self.class_activation = nn.Linear(width, config.num_classes + 1)
        self.interaction = Interaction(config, heads=HEADS)


class WeakCACENet(Localizer):
    """Audio-visual event localizer for clips with one event category, learnt from the categories of clips alone."""

    Config: ClassVar = WeakCACENetConfig
    task: ClassVar = "clips"
    config: WeakCACENetConfig

    def __init__(self, config: WeakCACENetConfig | None = None) -> None:
        super().__init__()
        self.config = config or WeakCACENetConfig()
        shared = self.config.shared()
        audio, visual = shared.audio_width, shared.visual_width
        self.visual_adapter = adapter(shared.visual_dim, visual, shared.dropout)
        fits = shared.audio_dim == audio
        self.audio_adapter = nn.Identity() if fits else adapter(shared.audio_dim, audio, shared.dropout)
        self.guidance = CoGuidance(shared)
        self.audio = WeakStream(audio, shared)
        self.visual = WeakStream(visual, shared)
        self.classify = nn.Linear(shared.d_model, shared.num_classes + 1, bias=False)

    def forward(self, audio: Tensor, visual: Tensor) -> WeakCACENetOutput:
        """Scores of a batch of clips, of any length and frame size.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, H, W, visual_dim]`.
        """
        seen = self.visual_adapter(visual.flatten(2, 3))
        heard, seen = self.guidance(self.audio_adapter(audio), seen)
        audio_code, visual_code = self.audio.encoder(heard), self.visual.encoder(seen)
        # each stream is weighed by a gate of its own code, as in CMBS's weak model (not in its supervised one)
        audio_gate, visual_gate = self.audio.gate(audio_code).sigmoid(), self.visual.gate(visual_code).sigmoid()
        heard = self._mixed(self.audio.decoder(heard, visual_code), audio_gate)
        seen = self._mixed(self.visual.decoder(seen, audio_code), visual_gate)
        activation = self.audio.class_activation(heard).sigmoid() + self.visual.class_activation(seen).sigmoid()
        seen = self.visual.interaction(seen, heard)
        heard = self.audio.interaction(heard, seen)
        scores = self.classify((heard + seen) / 2) * self.config.gamma * activation  # [B, T, K + 1]
        video = scores.topk(min(TOP_SEGMENTS, scores.shape[1]), dim=1).values.mean(dim=1)
        gate = (audio_gate + visual_gate) / 2
        clip_logits = (gate * video.unsqueeze(1)).amax(dim=1)
        return WeakCACENetOutput(torch.logit(gate.squeeze(-1), CERTAIN), clip_logits[:, :-1], clip_logits)

    @property
    def supervision(self) -> Supervision:
        """Always `weak`."""
        return "weak"

    def loss(self, output: WeakCACENetOutput, batch: ClipBatch, weights: object, state: nn.Module) -> dict[str, Tensor]:
        """See `bag_loss`."""
        return {"total": bag_loss(output.clip_logits, batch.categories)}

    def _mixed(self, x: Tensor, gate: Tensor) -> Tensor:
        return (1 - self.config.alpha) * x + self.config.alpha * gate * x
