"""CCLN ("Listen With Seeing", IEEE TMM 2025, DOI 10.1109/TMM.2025.3535359): a reconstruction from the abstract.

Neither text nor code nor figures of the paper are public. The abstract states a backbone of fusion, interaction and
integration beside a branch network; an interaction whose audio-visual correlations are gated by fused information
(SBI); foreground event enhancement with adaptive weights (FEE); a contrastive loss across modalities on labels of
whole clips (WCCL). Every formula and every number here, in `ccln_branch.py` and in `training/ccln_losses.py` is our
choice, made from what related methods do. Nothing measured with this network is a figure of the paper.

The baseline, with every switch off (`sbi_gate="none", fee="off", wccl=False, branch=False`): audio chooses positions
in frames, a Bi-LSTM for each modality, plain co-attention over one shared correlation matrix, a transformer layer for
each modality, and linear heads on the integrated features.

Shapes: `B` clips, `T` segments, `S = H * W` positions in a frame, `D = d_model`, `h` heads, `K` categories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.localizers.base import ClipBatch, Localizer, Supervision
from avel_cli.localizers.cace_net.network import HEADS, CACENetConfig, CoGuidance, adapter
from avel_cli.localizers.ccln.branch import Recurrent, SelfAttention, check_width, projector
from avel_cli.localizers.ccln.loss import CCLNWeights, ccln_loss, weak_ccln_loss

Guide = Literal["ave", "cmran"]
Gate = Literal["fused", "none", "threshold"]
Enhancement = Literal["bg_event", "off"]

ROW_EPSILON = 1e-6  # keeps a row without weight from dividing by 0; our choice
FIRST_ENHANCEMENT = 0.1  # where the learned strength of the enhancement starts; our choice, small and so harmless


@dataclass(frozen=True)
class CCLNConfig:
    """Sizes and switches. All defaults are our choice, but for the widths of VGG-19 and VGGish and AVE's 28 categories.

    Attributes:
        audio_dim: width of the audio features.
        visual_dim: channels of the visual features.
        num_classes: categories `K`, background not counted.
        d_model: inner width, a multiple of 4.
        task: `weak` adds an output for clips without an event, as labels of whole clips are all there is.
        guide: how audio chooses in frames: positions (`ave`, as AVE-ECCV18), or channels and positions (`cmran`, with
            the block of CACE-Net).
        sbi_gate: what gates the correlations of the interaction: the fused features, nothing, or a threshold (PSP).
        sbi_threshold: share of a row under which the threshold drops a correlation; PSP: 0.099, weak 0.095.
        fee: `bg_event` enhances segments by their own relevance and, in training, sets events apart from background.
        wccl: projections for the contrastive loss; they need the branch.
        branch: the branch network; without use for localization after training.
        input_dropout: after the first linear map of the visual features, and in the guide `cmran`.
        dropout: everywhere else.

    Raises:
        ValueError: if a switch has an unknown value, `wccl` lacks its branch, or `d_model` does not divide by 4.
    """

    audio_dim: int = 128
    visual_dim: int = 512
    num_classes: int = 28
    d_model: int = 256
    task: Supervision = "full"
    guide: Guide = "ave"
    sbi_gate: Gate = "fused"
    sbi_threshold: float = 0.099
    fee: Enhancement = "bg_event"
    wccl: bool = True
    branch: bool = True
    input_dropout: float = 0.2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, kind in (("task", Supervision), ("guide", Guide), ("sbi_gate", Gate), ("fee", Enhancement)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")
        if self.wccl and not self.branch:
            raise ValueError("wccl compares the fused features with the branch; with branch = false say wccl = false")
        check_width(self.d_model)

    @property
    def clip_outputs(self) -> int:
        """Outputs of the heads that judge whole clips."""
        return self.num_classes + (self.task == "weak")


class CCLNOutput(NamedTuple):
    """What `CCLN` gives for `B` clips of `T` segments. `C` is `K`, with weak supervision `K + 1`.

    Attributes:
        event_logits: `[B, T]`; above 0, the segment holds an event.
        category_logits: `[B, K]`, not normalised.
        clip_logits: `[B, C]`: `category_logits` and, with weak supervision, a last one for "no event at all".
        enhanced: `[B, T, D]`, what the heads see, for the loss of FEE; None without FEE.
        audio_logits: `[B, C]` of the branch; None where it was not asked for, as all that follows.
        visual_logits: the same of the visual features.
        audio_view: `[B, P]`, projection of the clip by the branch, not normalised; None without WCCL.
        visual_view: the same of the visual features.
        fused_view: the same of what the heads see.
    """

    event_logits: Tensor
    category_logits: Tensor
    clip_logits: Tensor
    enhanced: Tensor | None
    audio_logits: Tensor | None = None
    visual_logits: Tensor | None = None
    audio_view: Tensor | None = None
    visual_view: Tensor | None = None
    fused_view: Tensor | None = None

    @property
    def decodable(self) -> tuple[Tensor, Tensor]:
        """What `decode_segments` takes: where "no event at all" is the best of the clip, no segment is an event."""
        empty = self.clip_logits.argmax(dim=1, keepdim=True) == self.category_logits.shape[1]
        return self.event_logits.masked_fill(empty, -torch.inf), self.category_logits


class PositionGuidance(nn.Module):
    """Audio chooses the positions of a frame: softmax over them of `u' tanh(W_v V + W_a A)`."""

    out_features: int

    def __init__(self, config: CCLNConfig) -> None:
        super().__init__()
        self.out_features = config.visual_dim
        self.from_visual = nn.Linear(config.visual_dim, config.d_model)
        self.from_audio = nn.Linear(config.audio_dim, config.d_model, bias=False)
        self.score = nn.Linear(config.d_model, 1, bias=False)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """`[B, T, C]` from audio `[B, T, A]` and frames `[B, T, S, C]`."""
        hints = (self.from_visual(visual) + self.from_audio(audio).unsqueeze(2)).tanh()
        weights: Tensor = self.score(hints).softmax(dim=2)
        return (weights.mT @ visual).squeeze(2)


class ChannelGuidance(nn.Module):
    """Audio chooses channels and positions of a frame: the half of CACE-Net's guidance in which audio guides."""

    out_features: int

    def __init__(self, config: CCLNConfig) -> None:
        super().__init__()
        shared = CACENetConfig(d_model=config.d_model, guide="audio-guide", guide_dropout=config.input_dropout)
        self.out_features = shared.visual_width
        fits = config.audio_dim == shared.audio_width
        self.adapter = nn.Identity() if fits else adapter(config.audio_dim, shared.audio_width, config.input_dropout)
        self.guidance = CoGuidance(shared)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """`[B, T, C]` from audio `[B, T, A]` and frames `[B, T, S, C]`."""
        guided: Tensor = self.guidance(self.adapter(audio), visual)[1]
        return guided


class Fusion(nn.Module):
    """The seed of the fused information: both modalities side by side, plus their product, which wants agreement."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """`[B, T, D]` from two of that shape."""
        fused: Tensor = self.norm(self.both(torch.cat((visual, audio), dim=-1)) + visual * audio)
        return fused


def split_heads(x: Tensor) -> Tensor:
    """`[B, h, T, D / h]` from `[B, T, D]`."""
    heads: Tensor = x.unflatten(-1, (HEADS, -1))
    return heads.transpose(1, 2)


def correlate(x: Tensor, y: Tensor) -> Tensor:
    """Scaled products `[B, h, T, T]` of all segments of `x` (rows) and `y` (columns), both `[B, T, D]`."""
    one, other = split_heads(x), split_heads(y)
    return one @ other.mT / math.sqrt(one.shape[-1])


def normalise_rows(weights: Tensor) -> Tensor:
    """Rows that sum to 1, or to 0 where they have no weight at all."""
    return weights / (weights.sum(dim=-1, keepdim=True) + ROW_EPSILON)


class Receiver(nn.Module):
    """One modality taking in the other with given attention weights, then a feed-forward network; norms last."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.forward_net = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, other: Tensor, weights: Tensor) -> Tensor:
        """`[B, T, D]` from `x` and `other` of that shape and weights `[B, h, T, T]`, rows being segments of `x`."""
        taken = (weights @ split_heads(self.value(other))).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.dropout(self.out(taken)))
        x = self.norm2(x + self.dropout(self.forward_net(x)))
        return x


class FusionGate(nn.Module):
    """How far the fused features of two moments agree that they hold the same event; symmetric, as that is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shown = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(HEADS, 1, 1))

    def forward(self, fused: Tensor) -> Tensor:
        """`[B, h, T, T]` in 0..1 from `[B, T, D]`."""
        shown = self.shown(fused)
        return (correlate(shown, shown) + self.bias).sigmoid()


class BimodalInteraction(nn.Module):
    """Self-constrained bi-modal interaction: one correlation matrix for both directions, gated by the fusion of both.

    The gate comes after the softmax, because a logit that is made small is not suppressed.
    """

    def __init__(self, config: CCLNConfig) -> None:
        super().__init__()
        width = config.d_model
        self.threshold = config.sbi_threshold if config.sbi_gate == "threshold" else None
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.gate = FusionGate(width) if config.sbi_gate == "fused" else None
        self.audio = Receiver(width, config.dropout)
        self.visual = Receiver(width, config.dropout)

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Audio and visual features after looking at each other; all `[B, T, D]`."""
        scores = correlate(self.query(visual), self.key(audio))
        gate = self.gate(fused) if self.gate else None
        heard = self.audio(audio, visual, self.weights(scores.mT, gate))
        return heard, self.visual(visual, audio, self.weights(scores, gate))

    def weights(self, scores: Tensor, gate: Tensor | None) -> Tensor:
        """Attention weights of correlations and gates, all `[B, h, T, T]`."""
        if self.threshold is not None:
            shares = normalise_rows(scores.relu())
            return normalise_rows(shares * (shares >= self.threshold))
        weights = scores.softmax(dim=-1)
        return weights if gate is None else normalise_rows(weights * gate)


class Integration(nn.Module):
    """Each modality looks at itself once more; then both and the early fusion become one."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.audio = SelfAttention(width, dropout)
        self.visual = SelfAttention(width, dropout)
        self.all = nn.Linear(3 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor) -> Tensor:
        """`[B, T, D]` from three of that shape."""
        together = torch.cat((self.visual(visual), self.audio(audio), fused), dim=-1)
        integrated: Tensor = self.norm(self.all(together))
        return integrated


class BranchStream(nn.Module):
    """One modality in the branch network: a light encoder, a head for the clip, and a projection for WCCL."""

    def __init__(self, config: CCLNConfig) -> None:
        super().__init__()
        self.encoder = SelfAttention(config.d_model, config.dropout)
        self.head = nn.Linear(config.d_model, config.clip_outputs)
        self.projector = projector(config.d_model) if config.wccl else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Clip logits `[B, C]` and projection `[B, P]` of one modality's features `[B, T, D]`."""
        clip = self.encoder(x).mean(dim=1)
        return self.head(clip), self.projector(clip) if self.projector else None

    def embed(self, x: Tensor) -> Tensor:
        """Projections of segments `[B, T, P]`, of unit length: WCCL compares by angle.

        Raises:
            ValueError: if there are none, the network being without WCCL.
        """
        if self.projector is None:
            raise ValueError("a network without WCCL has no space in which sound and picture can be compared")
        return F.normalize(self.projector(self.encoder(x)), dim=-1)


class Branch(nn.Module):
    """The branch network: both modalities, each for itself, and the projection of the fused features beside them."""

    def __init__(self, config: CCLNConfig) -> None:
        super().__init__()
        self.audio = BranchStream(config)
        self.visual = BranchStream(config)
        self.fused_projector = projector(config.d_model) if config.wccl else None

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor) -> tuple[Tensor | None, ...]:
        """The branch's part of `CCLNOutput` from three `[B, T, D]`."""
        audio_logits, audio_view = self.audio(audio)
        visual_logits, visual_view = self.visual(visual)
        fused_view = self.fused_projector(fused.mean(dim=1)) if self.fused_projector else None
        return audio_logits, visual_logits, audio_view, visual_view, fused_view


class CCLN(Localizer):
    """Audio-visual event localizer for clips with one event category; a reconstruction from the abstract of CCLN.

    It owns only what its switches use.
    """

    Config: ClassVar = CCLNConfig
    Loss: ClassVar = CCLNWeights
    task: ClassVar = "clips"
    config: CCLNConfig

    def __init__(self, config: CCLNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CCLNConfig()
        width, dropout = config.d_model, config.input_dropout
        self.guide = PositionGuidance(config) if config.guide == "ave" else ChannelGuidance(config)
        channels = self.guide.out_features
        self.frames = adapter(config.visual_dim, channels, dropout) if config.guide == "cmran" else nn.Identity()
        self.audio = Recurrent(config.audio_dim, width)
        self.visual = nn.Sequential(adapter(channels, width, dropout), Recurrent(width, width))
        self.fusion = Fusion(width)
        self.interaction = BimodalInteraction(config)
        self.integration = Integration(width, config.dropout)
        self.enhancement = nn.Parameter(torch.tensor(FIRST_ENHANCEMENT)) if config.fee == "bg_event" else None
        self.event_head = nn.Linear(width, 1)
        self.category_head = nn.Linear(width, config.clip_outputs)
        self.branch = Branch(config) if config.branch else None
        self.enhancing = True  # weak supervision learns to set segments apart only after the first part of training

    def forward(self, audio: Tensor, visual: Tensor, *, branch: bool | None = None) -> CCLNOutput:
        """Event and category logits for a batch of clips, of any length and frame size.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, H, W, visual_dim]`.
            branch: compute what the branch gives, if there is one; by default in training only.
        """
        frames = self.frames(visual.flatten(2, 3))
        heard, seen = self.audio(audio), self.visual(self.guide(audio, frames))
        features = self.enhance(self.fuse(heard, seen))
        event_logits = self.event_head(features).squeeze(-1)
        clip_logits = self.category_head(features.amax(dim=1))
        category_logits = clip_logits[:, : self.config.num_classes]
        enhanced = None if self.enhancement is None else features
        output = CCLNOutput(event_logits, category_logits, clip_logits, enhanced)
        if self.branch is None or not (self.training if branch is None else branch):
            return output
        alone = self.visual(frames.mean(dim=2))  # guided frames would bring audio into the visual branch
        return CCLNOutput(*output[:4], *self.branch(heard, alone, features))

    @property
    def supervision(self) -> Supervision:
        """As its configuration says."""
        return self.config.task

    def advance(self, weights: CCLNWeights, step: int, steps: int) -> None:
        """Begin with FEE of weak supervision at its part of the run."""
        self.enhancing = step >= round(weights.fee_from * steps)

    def loss(self, output: CCLNOutput, batch: ClipBatch, weights: CCLNWeights, state: nn.Module) -> dict[str, Tensor]:
        """See `ccln_loss` and `weak_ccln_loss`."""
        if self.config.task == "full":
            return ccln_loss(output, batch.labels, weights, videos=batch.videos)._asdict()
        weights = weights if self.enhancing else replace(weights, fee=0.0)
        return weak_ccln_loss(output, batch.categories, weights, videos=batch.videos)._asdict()

    def fuse(self, audio: Tensor, visual: Tensor) -> Tensor:
        """The backbone after its encoders: fusion, interaction, integration; all `[B, T, D]`."""
        fused = self.fusion(audio, visual)
        integrated: Tensor = self.integration(*self.interaction(audio, visual, fused), fused)
        return integrated

    def enhance(self, features: Tensor) -> Tensor:
        """Features `[B, T, D]` scaled by their own relevance; as they are without FEE."""
        if self.enhancement is None:
            return features
        relevance: Tensor = self.event_head(features)
        return features * (1 + self.enhancement * relevance.tanh())

    def embed_audio(self, audio: Tensor) -> Tensor:
        """Where the branch puts sounds, `[B, T, P]` of unit length from `[B, T, audio_dim]`.

        Raises:
            ValueError: if the network has no such branch.
        """
        return self._branch().audio.embed(self.audio(audio))

    def embed_visual(self, visual: Tensor) -> Tensor:
        """Where the branch puts pictures, `[B, T, P]` of unit length.

        From maps `[B, T, H, W, visual_dim]` or their means `[B, T, visual_dim]`.

        Raises:
            ValueError: if the network has no such branch.
        """
        frames = self.frames(visual.unsqueeze(2) if visual.ndim == 3 else visual.flatten(2, -2))
        return self._branch().visual.embed(self.visual(frames.mean(dim=2)))

    def _branch(self) -> Branch:
        if self.branch is None:
            raise ValueError("a network without its branch has no space in which sound and picture can be compared")
        return self.branch
