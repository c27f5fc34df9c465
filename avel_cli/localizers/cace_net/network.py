"""CACE-Net (arXiv 2408.01952): which event a clip shows, and in which of its segments it is both seen and heard.

The network alone: published checkpoints are read in `published.py`, the loss is in `loss.py`, decoding in
`tasks/clips.py`. Where paper and published code differ, the code is followed: it gave the published figures.

Shapes: `B` clips, `T` segments, `H x W` positions in a frame, `S = H*W`, `D = d_model`, `K` categories.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.localizers.base import ClipBatch, Localizer
from avel_cli.localizers.cace_net.loss import CACENetWeights, cace_net_loss

Guide = Literal["co-guide", "audio-guide", "visual-guide", "none"]

HEADS = 4
ENCODER_LAYERS = 2
TOP_SEGMENTS = 4  # segments that a class activation score is averaged over
NOISE_STD = 0.1  # of the noise that makes the second view for the contrastive loss


@dataclass(frozen=True)
class CACENetConfig:
    """Sizes and constants; the defaults are the published supervised model for VGG-19 and VGGish features.

    `d_model` sets every inner width: audio enters at `d_model / 2` and frames at `2 * d_model`, brought there by an
    adapter. As published, audio that already has that width (128 for 256) is taken as it is.

    Attributes:
        audio_dim: width of the audio features.
        visual_dim: channels of the visual features.
        num_classes: categories `K`, background not counted.
        d_model: width of the encoders, a multiple of 4.
        guide: who guides. In the paper's Table 1: `co-guide` is AVCA, `audio-guide` (audio guides the visual
            features) its row "Visual-only", `visual-guide` its row "Audio-only", `none` is without AVCA.
        psi: strength of the guidance of audio by vision, above 0.
        beta: strength of the calibration of the guided visual features by their own salient positions.
        alpha: strength of the gate of one modality on the other.
        gamma: share of the class activation score in the category logits.
        event_lambda: share of the contrastive features in the event head (lambda in the paper).
        enhance_category: add these features to those of the category head too (Table 2, the row with an asterisk).
        contrastive: whether there is a contrastive encoder at all.
        guide_dropout: after the adapters and the attentions of the guidance.
        dropout: in encoders and decoders, and on the residual branch of the interaction.
        fusion_dropout: on the attention weights of the interaction.

    Raises:
        ValueError: if `guide` is unknown, `d_model` does not divide by 4, or `psi` is 0 where audio is guided.
    """

    audio_dim: int = 128
    visual_dim: int = 512
    num_classes: int = 28
    d_model: int = 256
    guide: Guide = "co-guide"
    psi: float = 0.3
    beta: float = 0.4
    alpha: float = 0.1
    gamma: float = 0.3
    event_lambda: float = 0.6
    enhance_category: bool = False
    contrastive: bool = True
    guide_dropout: float = 0.2
    dropout: float = 0.1
    fusion_dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.guide not in get_args(Guide):
            raise ValueError(f"guide is {self.guide!r}; it must be one of {', '.join(get_args(Guide))}")
        if self.d_model < HEADS or self.d_model % HEADS:
            raise ValueError(f"d_model is {self.d_model}; it must be a positive multiple of {HEADS}")
        if self.guides_audio and self.psi == 0:
            other = "audio-guide" if self.guides_visual else "none"
            raise ValueError(f"psi is 0, which leaves the audio unguided; say guide = {other!r} instead")

    @property
    def guides_visual(self) -> bool:
        """Whether audio guides the visual features."""
        return self.guide in ("co-guide", "audio-guide")

    @property
    def guides_audio(self) -> bool:
        """Whether the visual features guide audio."""
        return self.guide in ("co-guide", "visual-guide")

    @property
    def audio_width(self) -> int:
        """Width of audio inside the guidance."""
        return self.d_model // 2

    @property
    def visual_width(self) -> int:
        """Channels of a frame inside the guidance."""
        return self.d_model * 2


class CACENetOutput(NamedTuple):
    """What `CACENet` gives for `B` clips of `T` segments.

    Attributes:
        event_logits: `[B, T]`; above 0, the segment holds an event.
        category_logits: `[B, K]`, including `gamma * av_score`; not normalised.
        gate: `[B, T]` in (0, 1), product of the audio and the visual gate.
        av_score: `[B, K]`, class activation score of both modalities.
        q: `[B, T, D]` contrastive features of unit length; None when nothing asked for them.
        k: the same for the view with noise.
    """

    event_logits: Tensor
    category_logits: Tensor
    gate: Tensor
    av_score: Tensor
    q: Tensor | None
    k: Tensor | None

    @property
    def decodable(self) -> tuple[Tensor, Tensor]:
        """Logits of events and of categories, which `decode_segments` takes."""
        return self.event_logits, self.category_logits


def unscaled_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Single-head attention without the division by the root of the width, as in all of the guidance (eq. 3)."""
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


class Projections(nn.Module):
    """Several linear maps of one input, computed as one; gives one tensor for each width."""

    def __init__(self, in_features: int, *widths: int, relu: bool = False) -> None:
        super().__init__()
        linear = nn.Linear(in_features, sum(widths))
        self.weight, self.bias = linear.weight, linear.bias
        self.widths, self.relu = widths, relu

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """From `[..., in_features]` to one `[..., width]` for each width."""
        y = F.linear(x, self.weight, self.bias)
        return (y.relu() if self.relu else y).split_with_sizes(self.widths, dim=-1)


class SpatialSelfAttention(nn.Module):
    """Attention of the positions of a frame to each other, `count` times side by side with one shared norm (eq. 1)."""

    def __init__(self, width: int, key_width: int, count: int, dropout: float) -> None:
        super().__init__()
        self.project = Projections(width, *(key_width, key_width, width) * count)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, visual: Tensor) -> list[Tensor]:
        """`count` tensors of the shape of `visual`, `[B, T, S, C]`."""
        parts = self.project(visual)
        attended = map(unscaled_attention, parts[0::3], parts[1::3], parts[2::3])
        return [self.norm(visual + self.dropout(x)) for x in attended]


class SpatialPooling(nn.Module):
    """Weighted sum over positions; a position's weight is its score relative to the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, values: Tensor, hints: Tensor, guide: Tensor) -> Tensor:
        """`[B, T, C]` from values `[B, T, S, C]`, hints `[B, T, S, D]` and the guide `[B, T, D]` they are held to."""
        # score(hints * guide), with the small factors multiplied first
        scores = hints @ (self.score.weight * guide).unsqueeze(-1) + self.score.bias  # [B, T, S, 1]
        weights = scores.tanh().softmax(dim=2)
        return (weights.mT @ values).squeeze(2)


class VisualGuidance(nn.Module):
    """Audio says which channels and which positions of a frame matter, and its own salient ones calibrate that."""

    def __init__(self, config: CACENetConfig) -> None:
        super().__init__()
        channels, width = config.visual_width, config.d_model
        self.beta = config.beta
        self.from_audio = Projections(config.audio_width, channels, width, relu=True)
        self.from_attended = Projections(channels, channels, width, relu=True)
        self.from_mean = nn.Linear(channels, width)
        self.from_channels = nn.Linear(channels, width)
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)
        self.salient = SpatialPooling(width)
        self.heard = SpatialPooling(width)

    def forward(self, visual: Tensor, attended: Tensor, audio: Tensor) -> Tensor:
        """Guided `[B, T, C]` from frames and their self-attention, both `[B, T, S, C]`, and audio `[B, T, A]`."""
        heard_channels, heard_positions = self.from_audio(audio)
        seen_channels, seen_positions = self.from_attended(attended)
        seen_mean = self.from_mean(attended.mean(dim=2)).relu()
        calibration = self.salient(attended, seen_positions, seen_mean).sigmoid()

        squeezed = self.squeeze(heard_channels * seen_channels.mean(dim=2)).relu()
        visual = visual * (1 + self.excite(squeezed).sigmoid()).unsqueeze(2)
        pooled = self.heard(visual, self.from_channels(visual).relu(), heard_positions)
        guided: Tensor = pooled * (1 + self.beta * calibration)
        return guided


class AudioGuidance(nn.Module):
    """The frame says which parts of the sound matter (paper eqs. 3 to 5)."""

    def __init__(self, config: CACENetConfig) -> None:
        super().__init__()
        width = config.audio_width
        self.psi = config.psi
        self.project = Projections(width, width, width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.guide_dropout)
        self.query = nn.Linear(config.visual_width, width)
        self.key_value = Projections(width, width, width)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Guided audio `[B, T, A]` from audio and the mean attended frame `[B, T, C]`."""
        attended = self.norm(audio + self.dropout(unscaled_attention(*self.project(audio))))
        guide = unscaled_attention(self.query(visual), *self.key_value(attended))
        return audio * (1 + self.psi * guide.sigmoid())


class CoGuidance(nn.Module):
    """Audio-visual co-guidance (AVCA), or the half of it, or nothing of it, that `config.guide` names."""

    def __init__(self, config: CACENetConfig) -> None:
        super().__init__()
        count = config.guides_visual + config.guides_audio  # each direction looks at the frame for itself
        key_width, dropout = config.audio_width, config.guide_dropout
        self.attention = SpatialSelfAttention(config.visual_width, key_width, count, dropout) if count else None
        self.visual = VisualGuidance(config) if config.guides_visual else None
        self.audio = AudioGuidance(config) if config.guides_audio else None

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Audio `[B, T, A]` and pooled frames `[B, T, C]` from audio and frames `[B, T, S, C]`."""
        attended = self.attention(visual) if self.attention else []
        guided_audio = self.audio(audio, attended[-1].mean(dim=2)) if self.audio else audio
        guided_visual = self.visual(visual, attended[0], audio) if self.visual else visual.mean(dim=2)
        return guided_audio, guided_visual


class AttentionLayer(nn.Module):
    """Transformer layer, norm last: attention to a memory, then a feed-forward network."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, HEADS, dropout, batch_first=True)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """`[B, T, D]` from `x` of that shape and a memory `[B, M, D]`."""
        x = self.norm1(x + self.dropout(self.attention(x, memory, memory, need_weights=False)[0]))
        x = self.norm2(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))
        return x


class TemporalEncoder(nn.Module):
    """Segments of one modality looking at each other."""

    def __init__(self, in_features: int, width: int, dropout: float, hidden: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(in_features, width)
        layer = AttentionLayer(width, hidden or 4 * width, dropout)
        # copies: all layers start from the same weights, as in the published code
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(ENCODER_LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` from `[B, T, in_features]`."""
        x = self.project(x)
        for layer in self.layers:
            x = layer(x, x)
        return x


class CrossModalDecoder(nn.Module):
    """Segments of one modality looking at the other modality and at themselves."""

    def __init__(self, in_features: int, width: int, dropout: float, hidden: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(in_features, width)
        self.layer = AttentionLayer(width, hidden or 2 * width, dropout)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """`[B, T, D]` from `[B, T, in_features]` and the other modality's encoding `[B, T, D]`."""
        x = self.project(x)
        x = self.layer(x, torch.cat((other, x), dim=1))
        return x


class Interaction(nn.Module):
    """The product of two modalities looking at both of them."""

    def __init__(self, config: CACENetConfig, heads: int = HEADS) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(config.d_model, heads, config.fusion_dropout, batch_first=True)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """`[B, T, D]` from two tensors of that shape."""
        joint, both = x * y, torch.cat((y, x), dim=1)
        attended, _ = self.attention(joint, both, both, need_weights=False)
        result: Tensor = self.norm(joint + self.dropout(attended))
        return result


class Stream(nn.Module):
    """Everything that audio and vision each have for themselves after the guidance."""

    def __init__(self, in_features: int, out_features: int, config: CACENetConfig) -> None:
        super().__init__()
        self.rnn = nn.LSTM(in_features, out_features // 2, batch_first=True, bidirectional=True)
        self.encoder = TemporalEncoder(out_features, config.d_model, config.dropout)
        self.decoder = CrossModalDecoder(out_features, config.d_model, config.dropout)
        self.gate = nn.Linear(config.d_model, 1)
        self.class_activation = nn.Linear(config.d_model, config.num_classes)
        self.interaction = Interaction(config)

    def class_score(self, query: Tensor) -> Tensor:
        """`[B, K]`: for each class the mean of its highest activations over the segments of `[B, T, D]`."""
        activation: Tensor = self.class_activation(query)
        highest, _ = activation.topk(min(TOP_SEGMENTS, activation.shape[1]), dim=1)
        return highest.mean(dim=1)


def adapter(in_features: int, out_features: int, dropout: float) -> nn.Sequential:
    """Linear map, ReLU and dropout that bring features to the width of the network."""
    return nn.Sequential(nn.Linear(in_features, out_features), nn.ReLU(), nn.Dropout(dropout))


class CACENet(Localizer):
    """Audio-visual event localizer for clips with one event category (CACE-Net, ACM MM 2024).

    All four guidance variants are this class with another `config.guide`; each owns only what it uses.
    """

    Config: ClassVar = CACENetConfig
    Loss: ClassVar = CACENetWeights
    task: ClassVar = "clips"
    config: CACENetConfig

    def __init__(self, config: CACENetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CACENetConfig()
        audio, visual, width = config.audio_width, config.visual_width, config.d_model
        self.visual_adapter = adapter(config.visual_dim, visual, config.guide_dropout)
        fits = config.audio_dim == audio
        self.audio_adapter = nn.Identity() if fits else adapter(config.audio_dim, audio, config.guide_dropout)
        self.guidance = CoGuidance(config)
        self.audio = Stream(audio, width, config)
        self.visual = Stream(visual, 2 * width, config)
        self.event_head = nn.Linear(width, 1)
        self.category_head = nn.Linear(width, config.num_classes)
        self.contrast = nn.Linear(width, width) if config.contrastive else None
        self.enhancing = True  # the event head sees contrastive features: not yet in the first part of training

    def forward(
        self, audio: Tensor, visual: Tensor, *, enhance: bool | None = None, noise: Tensor | None = None
    ) -> CACENetOutput:
        """Event and category logits for a batch of clips, of any length and frame size.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, H, W, visual_dim]`.
            enhance: add the contrastive features to the event head; the published recipe does not in its first
                eighth. None goes by `advance`. No effect without a contrastive encoder.
            noise: `[B, T, D]`, standard normal, for the second contrastive view; drawn in training when not given.
                In evaluation `q` and `k` are None without it.
        """
        fused, gate, av_score = self.fuse(audio, visual)
        event_features, q, k = fused, None, None
        if self.contrast is not None:
            encoded = self.contrast(fused).relu()
            if self.enhancing if enhance is None else enhance:
                event_features = fused + self.config.event_lambda * encoded
            if noise is None and self.training:
                noise = torch.randn_like(fused)
            if noise is not None:
                q = F.normalize(encoded, dim=-1)
                k = F.normalize(self.contrast(fused + NOISE_STD * noise).relu(), dim=-1)
        event_logits = self.event_head(event_features).squeeze(-1)
        category_features = event_features if self.config.enhance_category else fused
        category_logits = self.category_head(category_features.amax(dim=1)) + self.config.gamma * av_score
        return CACENetOutput(event_logits, category_logits, gate, av_score, q, k)

    def advance(self, weights: CACENetWeights, step: int, steps: int) -> None:
        """Begin to enhance, and to contrast, at the published part of the run."""
        self.enhancing = step >= round(weights.contrastive_from * steps)

    def learn(self, batch: ClipBatch) -> CACENetOutput:
        """The output with the batch's noise."""
        output: CACENetOutput = self(batch.audio, batch.visual, noise=batch.noise)
        return output

    def loss(
        self, output: CACENetOutput, batch: ClipBatch, weights: CACENetWeights, state: nn.Module
    ) -> dict[str, Tensor]:
        """See `cace_net_loss`."""
        weight = weights.contrastive if self.enhancing and output.q is not None else 0.0
        return cace_net_loss(output, batch.labels, weight, skip_empty=weights.skip_empty)._asdict()

    def settle(self) -> None:
        """Without what an early epoch has not learnt to use, so that the network answers as when it was chosen."""
        if not self.enhancing:
            self.contrast, self.config, self.enhancing = None, replace(self.config, contrastive=False), True

    def fuse(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fused features `[B, T, D]`, joint gate `[B, T]` and class activation score `[B, K]`."""
        seen = self.visual_adapter(visual.flatten(2, 3))
        heard, seen = self.guidance(self.audio_adapter(audio), seen)
        heard, _ = self.audio.rnn(heard)
        seen, _ = self.visual.rnn(seen)
        audio_code, visual_code = self.audio.encoder(heard), self.visual.encoder(seen)
        audio_gate, visual_gate = self.audio.gate(audio_code).sigmoid(), self.visual.gate(visual_code).sigmoid()

        heard = self.audio.decoder(heard, visual_code) * (1 + self.config.alpha * visual_gate)
        seen = self.visual.decoder(seen, audio_code) * (1 + self.config.alpha * audio_gate)
        av_score = (self.audio.class_score(heard) + self.visual.class_score(seen)) / 2
        seen = self.visual.interaction(seen, heard)
        heard = self.audio.interaction(heard, seen)  # sees vision as it is after its own interaction
        return (heard + seen) / 2, (audio_gate * visual_gate).squeeze(-1), av_score
