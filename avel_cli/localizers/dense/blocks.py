"""Parts of the dense-event networks (`unav.py`, `loco.py`): convolutions, attention blocks, pyramid, heads, output.

Shapes: `B` videos, `T` grid steps, `T_l = ceil(T / 2^l)` points of level `l`, `D` width, `H` heads, `K` classes. A mask
`[B, T]` is true on real steps; whatever stands on the other steps is padding, and nothing may depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CorrespondenceTargets = Literal["diagonal", "softened", "fixed", "learned"]
CorrespondenceForm = Literal["kl", "normalised_ce", "density_ce"]

CLASS_PRIOR = 0.01  # probability of every class at every point before training
RESIDUAL_SCALE = 1e-4  # of each attention and each MLP before training


@dataclass(frozen=True)
class DenseConfig:
    """Sizes that the dense-event networks share; the defaults are the published UnAV recipe.

    Attributes:
        audio_dim: width of the audio features.
        visual_dim: width of the visual features.
        num_classes: classes `K`.
        d_model: width `D` of each stream, even and a multiple of `heads`.
        heads: attention heads `H`.
        unimodal_layers: self-attention blocks of each modality before the two meet.
        levels: pyramid levels, at strides 1, 2, 4, ...
        head_dim: inner width of the class and offset heads.
        max_seq_len: length of the position table. Longer inputs stretch the table, and then see how far they were
            padded.
        drop_path: probability that a residual branch is left out in training, in [0, 1).

    Raises:
        ValueError: if `d_model` is odd or no multiple of `heads`, or there is no level.
    """

    audio_dim: int = 128
    visual_dim: int = 2048
    num_classes: int = 100
    d_model: int = 512
    heads: int = 4
    unimodal_layers: int = 2
    levels: int = 6
    head_dim: int = 512
    max_seq_len: int = 224
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        if self.d_model % self.heads or self.d_model % 2:
            raise ValueError(f"d_model is {self.d_model}; it must be even and a multiple of heads, {self.heads}")
        if self.levels < 1:
            raise ValueError(f"levels is {self.levels}; there must be at least one")

    @property
    def strides(self) -> tuple[int, ...]:
        """Grid steps from one point to the next, for each level."""
        return tuple(2**level for level in range(self.levels))


class Correspondence(NamedTuple):
    """What the correspondence loss of LoCo compares, and how.

    Attributes:
        audio: `[B, T, C]`, rows of unit length.
        visual: the same of the other modality.
        mask: `[B, T]`, true on real steps.
        tau: scalar, temperature that similarities are divided by.
        sigma: scalar, in steps: how far around its own moment a step finds its match.
        targets: what a step is drawn to, see `LoCoConfig.lcc`.
        form: of the loss, see `LoCoConfig.lcc_form`.
    """

    audio: Tensor
    visual: Tensor
    mask: Tensor
    tau: Tensor
    sigma: Tensor
    targets: CorrespondenceTargets
    form: CorrespondenceForm


class DenseOutput(NamedTuple):
    """What a dense-event network gives, one entry for each level; point `t` lies at grid step `t * stride`.

    Attributes:
        logits: `[B, T_l, K]`, one sigmoid for each class; 0 on padding.
        offsets: `[B, T_l, K, 2]`, distances of start and end from the point in strides of the level, at least 0.
        masks: `[B, T_l]`, true on real points.
        strides: of the levels, in grid steps.
        correspondence: for the correspondence loss; None where there is none, and in evaluation.
    """

    logits: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    strides: tuple[int, ...]
    correspondence: Correspondence | None = None


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` `[B, T, D]` with zeros where `mask` `[B, T]` is false; `x` itself without a mask."""
    return x if mask is None else x * mask.unsqueeze(-1)


def position_table(length: int, width: int) -> Tensor:
    """Sines (even channels) and cosines (odd channels) of the positions, `[length, width]`, over `sqrt(width)`."""
    exponents = torch.arange(0, width, 2) / width
    angles = torch.arange(length).unsqueeze(1) / 10000**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1) / math.sqrt(width)


class MaskedConv(nn.Module):
    """Convolution over three steps, zero on padding."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_features, out_features, 3, padding=1, bias=bias)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, out_features]` from `[B, T, in_features]`."""
        return masked(self.conv(x.mT).mT, mask)


class ConvStack(nn.Module):
    """Two times convolution, norm and ReLU. Unless `clean`, the bias of the norms stands on padding, as published."""

    def __init__(self, in_features: int, width: int, *, clean: bool = True) -> None:
        super().__init__()
        self.clean = clean
        self.convs = nn.ModuleList((MaskedConv(in_features, width), MaskedConv(width, width)))
        self.norms = nn.ModuleList((nn.LayerNorm(width), nn.LayerNorm(width)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, width]` from `[B, T, in_features]`."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = masked(norm(conv(x, mask)).relu(), mask if self.clean else None)
        return x


class DepthwiseConv(nn.Module):
    """Each channel for itself over three steps, at every `stride`-th step; no bias."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(width, 1, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv1d

    def forward(self, x: Tensor) -> Tensor:
        """`[B, ceil(T / stride), D]` from `[B, T, D]`."""
        return F.conv1d(x.mT, self.weight, stride=self.stride, padding=1, groups=self.weight.shape[0]).mT


class ResidualScale(nn.Module):
    """Learned scale of each channel, and stochastic depth: in training all of a sample is left out now and then."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.weight = nn.Parameter(torch.full((width,), RESIDUAL_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled residual, of the shape of `x`, `[B, T, D]`."""
        x = x * self.weight
        if self.training and self.drop:
            keep = 1 - self.drop
            x = x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep).div(keep)
        return x


class Block(nn.Module):
    """Transformer block of the published UnAV: depthwise convolutions before the projections, norms first.

    The published cross attention asks with the *other* stream and answers with its *own*: queries come from `other`,
    keys, values and the residual from `own`.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, stride: int = 1, drop_path: float = 0.1, clean: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.stride, self.clean = heads, stride, clean
        self.norm_query, self.norm_key = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_conv, self.query_norm, self.query = _projection(width, stride)
        self.key_conv, self.key_norm, self.key = _projection(width, stride)
        self.value_conv, self.value_norm, self.value = _projection(width, stride)
        self.proj = _linear(width, width)
        self.attention_scale = ResidualScale(width, drop_path)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(_linear(width, hidden), nn.GELU(), _linear(hidden, width))
        self.mlp_scale = ResidualScale(width, drop_path)

    def forward(self, own: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, ceil(T / stride), D]` from two streams `[B, T, D]`; without a mask every step is real."""
        edge = mask if self.clean else None
        asks, answers = self.roles(own, other)
        asks, answers = masked(self.norm_query(asks), edge), masked(self.norm_key(answers), edge)
        query = self.query_norm(self.query_conv(asks))
        key = self.key_norm(self.key_conv(answers))
        value = self.value_norm(self.value_conv(answers))
        x = self.pool(own, edge)
        mask = None if mask is None else mask[:, :: self.stride]
        attended = self.proj(self.attend(query, key, value, mask).flatten(2))
        x = masked(x, mask) + self.attention_scale(masked(attended, mask))
        result: Tensor = x + self.mlp_scale(masked(self.mlp(self.norm_mlp(x)), mask))
        return result

    def roles(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The stream that queries come from, then that of keys and values."""
        return other, own

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attended values `[B, T_l, H, D / H]` from the features, each `[B, T_l, D]`, that are yet to be projected."""
        if mask is not None:  # a video without a single step may look everywhere, which is not a number less
            mask = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None]
        parts = (self.query(query), self.key(key), self.value(value))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)
        return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)

    def pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The residual at the stride of the block: the largest of three steps, padding not counted."""
        if self.stride == 1:
            return x
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(-1), torch.finfo(x.dtype).min)
        return F.max_pool1d(x.mT, 3, self.stride, padding=1).mT


def _linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear map that starts with a bias of 0."""
    linear = nn.Linear(in_features, out_features)
    nn.init.zeros_(linear.bias)
    return linear


def _projection(width: int, stride: int) -> tuple[DepthwiseConv, nn.LayerNorm, nn.Linear]:
    """What queries, keys or values go through."""
    return DepthwiseConv(width, stride), nn.LayerNorm(width), _linear(width, width)


class UnimodalEncoder(nn.Module):
    """One modality for itself: convolutions, positions, self-attention over all steps."""

    table: Tensor

    def __init__(self, in_features: int, config: DenseConfig, *, clean: bool = True) -> None:
        super().__init__()
        width = config.d_model
        self.embed = ConvStack(in_features, width, clean=clean)
        self.register_buffer("table", position_table(config.max_seq_len, width), persistent=False)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, 4 * width, drop_path=config.drop_path, clean=clean)
            for _ in range(config.unimodal_layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, D]` from features `[B, T, in_features]`."""
        x = self.embed(masked(x, mask), mask) + masked(self.positions(x.shape[1]), mask)
        for block in self.blocks:
            x = block(x, x, mask)
        return x

    def positions(self, length: int) -> Tensor:
        """The first rows `[length, D]` of the table, or all of it stretched to a greater length."""
        if length <= len(self.table):
            return self.table[:length]
        return F.interpolate(self.table.T[None], length, mode="linear", align_corners=False)[0].T


class Pyramid(nn.Module):
    """Both modalities looking at each other, level upon level; from the second level on at half the steps each."""

    def __init__(self, block: Callable[[int], Block], levels: int) -> None:
        super().__init__()
        strides = [1] + [2] * (levels - 1)
        self.audio = nn.ModuleList(map(block, strides))
        self.visual = nn.ModuleList(map(block, strides))

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Visual and audio joined, `[B, T_l, 2 * D]`, and the mask `[B, T_l]`, for each level."""
        features, masks = [], []
        for audio_block, visual_block in zip(self.audio, self.visual, strict=True):
            # both see the other as it left the level before
            audio, visual = audio_block(audio, visual, mask), visual_block(visual, audio, mask)
            mask = mask[:, :: audio_block.stride]
            features.append(torch.cat((visual, audio), dim=-1))
            masks.append(mask)
        return features, masks


class Head(nn.Module):
    """Three convolutions from features to outputs."""

    def __init__(self, in_features: int, width: int, out_features: int, *, clean: bool = True) -> None:
        super().__init__()
        self.stack = ConvStack(in_features, width, clean=clean)
        self.last = MaskedConv(width, out_features, bias=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, out_features]` from `[B, T, in_features]`."""
        result: Tensor = self.last(self.stack(x, mask), mask)
        return result


class DenseHeads(nn.Module):
    """Class logits and offsets at every point; one pair of heads for all levels."""

    def __init__(self, in_features: int, config: DenseConfig, *, clean: bool = True) -> None:
        super().__init__()
        self.classify = Head(in_features, config.head_dim, config.num_classes, clean=clean)
        self.regress = Head(in_features, config.head_dim, 2 * config.num_classes, clean=clean)
        self.scale = nn.Parameter(torch.ones(config.levels))
        self.strides = config.strides
        assert self.classify.last.conv.bias is not None
        nn.init.constant_(self.classify.last.conv.bias, -math.log(1 / CLASS_PRIOR - 1))

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> DenseOutput:
        """The output of the network from `[B, T_l, in_features]` and `[B, T_l]` for each level."""
        logits, offsets = [], []
        for x, mask, scale in zip(features, masks, self.scale, strict=True):
            logits.append(self.classify(x, mask))
            offsets.append((self.regress(x, mask) * scale).relu().unflatten(-1, (-1, 2)))
        return DenseOutput(tuple(logits), tuple(offsets), tuple(masks), self.strides)
