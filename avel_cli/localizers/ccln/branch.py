"""The branch of CCLN: each modality by itself, without any path between the two. It is what cross-modal matching uses.

Part of a reconstruction from the abstract, see `network.py`: that there is a branch is stated there, the rest is ours.

Shapes: `B` clips, `T` segments, `D = d_model`, `P = D / 2` the width of projections (our choice: 128 for 256).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

from torch import Tensor, nn

from avel_cli.localizers.base import Localizer, MatchBatch
from avel_cli.localizers.cace_net.network import HEADS, AttentionLayer, adapter
from avel_cli.localizers.ccln.loss import CCLNWeights, cross_modal_loss

Context = Literal["none", "clip"]
BRANCH = "ccln-branch"  # the network in the header of weights of the branch alone, which localizes nothing by itself


class Recurrent(nn.Module):
    """Bi-directional LSTM over segments, half of the width for each direction."""

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(in_features, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` from `[B, T, in_features]`."""
        states: Tensor = self.rnn(x)[0]
        return states


class SelfAttention(nn.Module):
    """One transformer layer in which segments look at each other; feed-forward width `4 * D`, our choice."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layer = AttentionLayer(width, 4 * width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` of that shape."""
        encoded: Tensor = self.layer(x, x)
        return encoded


def projector(width: int) -> nn.Sequential:
    """Two linear maps from `[..., D]` to `[..., P]`, where modalities are compared."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width // 2))


def pooled(visual: Tensor) -> Tensor:
    """Mean over the positions of frames: `[B, T, C]` from `[B, T, H, W, C]`; vectors `[B, T, C]` stay as they are."""
    return visual if visual.ndim == 3 else visual.flatten(2, -2).mean(dim=2)


@dataclass(frozen=True)
class CrossModalConfig:
    """Sizes of the branch when it is trained alone, for cross-modal localization; our choice but for feature widths.

    Attributes:
        audio_dim: width of the audio features.
        visual_dim: channels of the visual features.
        d_model: inner width, a multiple of 4.
        context: `none` encodes every segment alone; `clip` lets segments of one modality know their neighbours, and
            thereby their position, which alone scores high (`metrics/matching.py`).
        input_dropout: after the first linear map of a modality.
        dropout: in the transformer layers.

    Raises:
        ValueError: if `context` is unknown or `d_model` does not divide by 4.
    """

    audio_dim: int = 128
    visual_dim: int = 512
    d_model: int = 256
    context: Context = "none"
    input_dropout: float = 0.2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.context not in get_args(Context):
            raise ValueError(f"context is {self.context!r}; it must be one of {', '.join(get_args(Context))}")
        check_width(self.d_model)


def check_width(d_model: int) -> None:
    """Raises ValueError if the heads of an attention cannot share this width."""
    if d_model < HEADS or d_model % HEADS:
        raise ValueError(f"d_model is {d_model}; it must be a positive multiple of {HEADS}")


class CrossModalOutput(NamedTuple):
    """Embeddings of each segment `[B, T, P]`, to be compared by Euclidean distance, and of whole clips `[B, P]`."""

    audio: Tensor
    visual: Tensor
    audio_view: Tensor
    visual_view: Tensor


class CrossModalBranch(Localizer):
    """The branch trained alone: embeds sound and picture in one space, never knowing of the other."""

    Config: ClassVar = CrossModalConfig
    Loss: ClassVar = CCLNWeights
    task: ClassVar = "matching"
    config: CrossModalConfig

    def __init__(self, config: CrossModalConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CrossModalConfig()
        self.audio = self._encoder(config.audio_dim)
        self.visual = self._encoder(config.visual_dim)
        self.audio_projector = projector(config.d_model)
        self.visual_projector = projector(config.d_model)

    def _encoder(self, in_features: int) -> nn.Sequential:
        width, dropout = self.config.d_model, self.config.input_dropout
        first = adapter(in_features, width, dropout)
        if self.config.context == "none":
            return nn.Sequential(first, adapter(width, width, dropout))
        return nn.Sequential(first, Recurrent(width, width), SelfAttention(width, self.config.dropout))

    def forward(self, audio: Tensor, visual: Tensor) -> CrossModalOutput:
        """Embeddings of `audio [B, T, audio_dim]` and `visual [B, T, H, W, visual_dim]` or `[B, T, visual_dim]`."""
        heard, seen = self.audio(audio), self.visual(pooled(visual))
        views = self.audio_projector(heard.mean(dim=1)), self.visual_projector(seen.mean(dim=1))
        return CrossModalOutput(self.audio_projector(heard), self.visual_projector(seen), *views)

    def loss(
        self, output: CrossModalOutput, batch: MatchBatch, weights: CCLNWeights, state: nn.Module
    ) -> dict[str, Tensor]:
        """See `cross_modal_loss`."""
        return {"total": cross_modal_loss(output, batch.labels, batch.num_classes, batch.videos, weights)}

    def embed_audio(self, audio: Tensor) -> Tensor:
        """`[B, T, P]` from `[B, T, audio_dim]`."""
        embedded: Tensor = self.audio_projector(self.audio(audio))
        return embedded

    def embed_visual(self, visual: Tensor) -> Tensor:
        """`[B, T, P]` from `[B, T, H, W, visual_dim]` or `[B, T, visual_dim]`."""
        embedded: Tensor = self.visual_projector(self.visual(pooled(visual)))
        return embedded
