"""LoCo (arXiv 2409.07967): dense audio-visual events from attention to what is near, in time and in content.

No code was published and the paper's text leaves numbers open, so this is LoCo *as specified here*: UnAV's detector
without its dependency block, with cross-modal attention inside learned local windows (CDP; LAC in later versions of the
paper) and a label-free correspondence of the two modalities (LCC, later LCF; the loss is in
`dense/loss.py`). "Our choice" marks what the paper does not say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.localizers.dense.blocks import (
    Block,
    Correspondence,
    CorrespondenceForm,
    CorrespondenceTargets,
    DenseConfig,
    DenseHeads,
    DenseOutput,
    Pyramid,
    UnimodalEncoder,
    masked,
)
from avel_cli.localizers.dense.localizer import DenseLocalizer

Perception = Literal["cdp", "lac", "fixed", "global", "none"]

TAU, TAU_RANGE = 0.07, (0.001, 0.5)  # our choice; that it is learned is the paper's
SIGMA, SMALLEST_SIGMA = 1.0, 0.3  # steps; our choice
LEAST_MASK = 0.5  # a sampled key counts if at least so much of it is real; our choice
QUERY_BLOCK = 32  # queries that share one slice of keys; changes speed, not results


@dataclass(frozen=True)
class LoCoConfig(DenseConfig):
    """Sizes and variants of LoCo; the defaults are for ONE-PEACE features. All sizes are those of UnAV.

    Attributes:
        window: steps of a base window at every level, even; 8 is our choice.
        perception: how the modalities look at each other. `cdp`, also called `lac`: in windows whose size and place
            are learned; `fixed`: in windows as they are; `global`: at everything, as UnAV does; `none`: not at all,
            each looks at itself (our reading of the paper's base line).
        lcc: what the correspondence loss aims at. `learned` and `fixed`: a Gaussian around the same moment, its width
            learned or 1 step; `softened`: the same moment and a little of the rest of its video; `diagonal`: the same
            moment alone; `off`: there is no such loss, and weights trained with it load without their part for it.
            `lcf`, the name of later versions of the paper for all of it, is `learned`.
        lcc_form: `kl`, divergence from targets that sum to 1 for each step (our choice: only this form has a width
            that follows the data); `normalised_ce`, cross-entropy with the same targets; `density_ce`, cross-entropy
            with the Gaussian density as it is, which as far as the words tell is the paper's.
        decoder_layers: self-attention blocks over the joined modalities, shared by all levels; 1 is our choice.

    Raises:
        ValueError: if `perception`, `lcc` or `lcc_form` is unknown, or `window` is odd or below 2.
    """

    audio_dim: int = 1536
    visual_dim: int = 1536
    max_seq_len: int = 256
    window: int = 8
    perception: Perception = "cdp"
    lcc: Literal["off", "lcf", CorrespondenceTargets] = "learned"
    lcc_form: CorrespondenceForm = "kl"
    decoder_layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        targets = ("off", "lcf", *get_args(CorrespondenceTargets))
        choices = {"perception": get_args(Perception), "lcc": targets, "lcc_form": get_args(CorrespondenceForm)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if self.window < 2 or self.window % 2:
            raise ValueError(f"window is {self.window}; it must be even, and at least 2")


def sample(x: Tensor, lower: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of two neighbouring steps of each head.

    Args:
        x: `[B, T, H, d]`.
        lower: `[B, L, H]`, int64, the earlier of the two steps; steps outside of `0..T-1` must have a weight of 0.
        weights: `[B, L, H, 2]` of the earlier and the later step.

    Returns:
        `[B, L, H, d]`.
    """
    batch, length, heads, _ = x.shape
    video = torch.arange(batch, device=x.device)[:, None, None, None]
    steps = torch.stack((lower, lower + 1), dim=-1).clamp(0, length - 1)
    rows = (video * length + steps) * heads + torch.arange(heads, device=x.device)[:, None]
    weights = weights.to(x.dtype).flatten(0, 2)
    sums: Tensor = F.embedding_bag(rows.flatten(0, 2), x.flatten(0, 2), per_sample_weights=weights, mode="sum")
    return sums.view(*lower.shape, -1)


def sliding_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor, radius: int) -> Tensor:
    """Attention of query `t` to the keys `t - radius .. t + radius`, in memory that grows with the length alone.

    Args:
        query: `[B, T, H, d]`.
        key: `[B, L, H, d]`, `L` not below `T`.
        value: the same.
        valid: `[B, L, H]`, bool: the keys that count. A query without any gets 0.
        radius: in steps.

    Returns:
        `[B, T, H, d]`.
    """
    length, size = query.shape[1], min(QUERY_BLOCK, query.shape[1])
    blocks = math.ceil(length / size)
    reach = (radius, blocks * size + radius - key.shape[1])
    near = [_padded(x, *reach).unfold(1, size + 2 * radius, size) for x in (key, value)]  # [B, n, H, d, size + 2 r]
    key, value = (x.movedim(-1, -2).flatten(0, 1) for x in near)
    query = _padded(query, 0, blocks * size - length).unflatten(1, (blocks, size)).transpose(2, 3).flatten(0, 1)

    valid = _padded(valid, *reach)
    none = ~valid.unfold(1, 2 * radius + 1, 1).any(dim=-1)  # [B, n * size, H]
    everything = none.unflatten(1, (blocks, size)).transpose(2, 3).flatten(0, 1).unsqueeze(-1)
    slices = valid.unfold(1, size + 2 * radius, size).flatten(0, 1).unsqueeze(-2)  # [B * n, H, 1, size + 2 r]
    steps = torch.arange(size + 2 * radius, device=query.device)
    band = (steps - steps[:size, None] - radius).abs() <= radius
    attended: Tensor = F.scaled_dot_product_attention(query, key, value, slices & band | everything)
    attended = attended.unflatten(0, (-1, blocks)).transpose(2, 3).flatten(1, 2)  # [B, n * size, H, d]
    return attended.masked_fill(none.unsqueeze(-1), 0)[:, :length]


def _padded(x: Tensor, before: int, after: int) -> Tensor:
    """`x` `[B, T, ...]` with zeros before and after along the second axis; cut where `after` is negative."""
    return F.pad(x, (0, 0) * (x.ndim - 2) + (before, after))


class LocalBlock(Block):
    """Cross attention inside windows (paper 3.4, eqs. 6-8): the own stream asks, the other answers.

    `adaptive` windows have, for each head, a size and a place regressed from the queries inside (as in VSA, which the
    paper cites). Both start as those of the base window, which is our choice, and are not bounded.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, stride: int, drop_path: float, window: int, adaptive: bool
    ) -> None:
        super().__init__(width, heads, hidden, stride=stride, drop_path=drop_path)
        self.window = window
        self.adapt = nn.Linear(width, 2 * heads) if adaptive else None
        if self.adapt is not None:
            nn.init.zeros_(self.adapt.weight)
            nn.init.zeros_(self.adapt.bias)

    def roles(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The stream that queries come from, then that of keys and values."""
        return own, other

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attended values `[B, T_l, H, D / H]` from the features, each `[B, T_l, D]`, that are yet to be projected."""
        if mask is None:
            mask = query.new_ones(query.shape[:2], dtype=torch.bool)
        parts = (self.query(query), self.key(key), self.value(value))
        q, k, v = (x.unflatten(-1, (self.heads, -1)) for x in parts)
        if self.adapt is None:
            return sliding_attention(q, k, v, mask.unsqueeze(-1).expand(-1, -1, self.heads), self.window // 2)
        positions = self.positions(*self.windows(query, mask))
        lower, weights = interpolation(positions, mask)
        valid = weights.sum(dim=-1) >= LEAST_MASK
        return sliding_attention(q, sample(k, lower, weights), sample(v, lower, weights), valid, self.window // 2)

    def windows(self, query: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Relative growth and offset (1 is half a window) of each window and head, `[B, N, H]` each (eq. 7).

        A window of padding alone is infinitely far away; else it could lie on real steps where the array is longer.
        """
        assert self.adapt is not None
        count = math.ceil(query.shape[1] / self.window)
        missing = count * self.window - query.shape[1]
        sums = _padded(masked(query, mask), 0, missing).unflatten(1, (count, -1)).sum(dim=2)
        steps = _padded(mask, 0, missing).unflatten(1, (count, -1)).sum(dim=2).unsqueeze(-1)
        growth, offset = self.adapt(F.leaky_relu(sums / steps.clamp(min=1))).chunk(2, dim=-1)
        return growth, offset.masked_fill(steps == 0, -torch.inf)

    def positions(self, growth: Tensor, offset: Tensor) -> Tensor:
        """Where keys are sampled, `[B, N * window, H]` in steps, from `[B, N, H]`: as many as the window has steps."""
        half = (self.window - 1) / 2
        inside = torch.arange(self.window, device=growth.device).unsqueeze(1) - half  # [w, 1]
        centres = torch.arange(growth.shape[1], device=growth.device)[:, None, None] * self.window + half
        growth, offset = growth.float().unsqueeze(2), offset.float().unsqueeze(2)  # half precision has no far steps
        return (centres + inside * (1 + growth) + offset * (self.window / 2)).flatten(1, 2)


def interpolation(positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The step before each position `[B, L, H]` and the weights `[B, L, H, 2]` of that step and of the next.

    A step outside of the sequence or on padding, by `mask` `[B, T]`, has the weight 0.
    """
    length = mask.shape[1]
    positions = positions.clamp(-2, length + 1)  # beyond both ends there is nothing anyway
    lower = positions.detach().floor().long()
    steps = torch.stack((lower, lower + 1), dim=-1)
    there = mask[:, :, None].expand(-1, -1, positions.shape[2]).unsqueeze(-1)
    real = there.expand(-1, -1, -1, 2).gather(1, steps.clamp(0, length - 1)) & (steps >= 0) & (steps < length)
    upper_share = positions - lower
    return lower, torch.stack((1 - upper_share, upper_share), dim=-1) * real


class LocalCorrespondence(nn.Module):
    """Brings both modalities into one space of half the width (paper 3.3), one linear map each: our choice."""

    def __init__(self, config: LoCoConfig, targets: CorrespondenceTargets) -> None:
        super().__init__()
        self.targets, self.form = targets, config.lcc_form
        self.audio = nn.Linear(config.d_model, config.d_model // 2)
        self.visual = nn.Linear(config.d_model, config.d_model // 2)
        self.log_tau = nn.Parameter(torch.tensor(math.log(TAU)))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(SIGMA))) if targets == "learned" else None
        self.largest_sigma = max(config.max_seq_len / 8, SIGMA)

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor) -> Correspondence:
        """From the unimodal streams `[B, T, D]`. Keeps `tau` in [0.001, 0.5], `sigma` in [0.3, T / 8] steps."""
        self.log_tau.data.clamp_(*map(math.log, TAU_RANGE))
        if self.log_sigma is not None:
            self.log_sigma.data.clamp_(math.log(SMALLEST_SIGMA), math.log(self.largest_sigma))
        sigma = torch.tensor(SIGMA, device=audio.device) if self.log_sigma is None else self.log_sigma.exp()
        audio, visual = F.normalize(self.audio(audio), dim=-1), F.normalize(self.visual(visual), dim=-1)
        return Correspondence(audio, visual, mask, self.log_tau.exp(), sigma, self.targets, self.form)


class LoCo(DenseLocalizer):
    """Locality-aware dense audio-visual event localizer."""

    Config: ClassVar = LoCoConfig
    config: LoCoConfig

    def __init__(self, config: LoCoConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LoCoConfig()
        width = config.d_model
        self.audio = UnimodalEncoder(config.audio_dim, config)
        self.visual = UnimodalEncoder(config.visual_dim, config)
        targets = "learned" if config.lcc == "lcf" else config.lcc
        self.correspondence = None if targets == "off" else LocalCorrespondence(config, targets)
        self.pyramid = Pyramid(self.block, config.levels)
        self.fuse = nn.Linear(2 * width, width)
        nn.init.zeros_(self.fuse.bias)
        self.decoder = nn.ModuleList(
            Block(width, config.heads, 4 * width, drop_path=config.drop_path) for _ in range(config.decoder_layers)
        )
        self.heads = DenseHeads(width, config)
        self.register_load_state_dict_pre_hook(_without_correspondence)  # type: ignore[no-untyped-call]

    def block(self, stride: int) -> Block:
        """A block of the pyramid, of the kind that `config.perception` names."""
        config = self.config
        sizes = (config.d_model, config.heads, 4 * config.d_model)
        if config.perception in ("cdp", "lac", "fixed"):
            adaptive = config.perception != "fixed"
            return LocalBlock(
                *sizes, stride=stride, drop_path=config.drop_path, window=config.window, adaptive=adaptive
            )
        kind = Block if config.perception == "global" else SelfBlock
        return kind(*sizes, stride=stride, drop_path=config.drop_path)

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor) -> DenseOutput:
        """Logits and offsets at the points of every level; in training also what the correspondence loss compares.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, visual_dim]`, of the same steps.
            mask: `[B, T]`, bool, true on real steps; padding stands behind them.
        """
        heard, seen = self.audio(audio, mask), self.visual(visual, mask)
        features, masks = self.pyramid(heard, seen, mask)
        fused = []
        for x, level_mask in zip(features, masks, strict=True):
            x = masked(self.fuse(x), level_mask)
            for block in self.decoder:
                x = block(x, x, level_mask)
            fused.append(x)
        output: DenseOutput = self.heads(fused, masks)
        if self.training and self.correspondence is not None:
            output = output._replace(correspondence=self.correspondence(heard, seen, mask))
        return output


class SelfBlock(Block):
    """A block that looks at its own stream alone."""

    def roles(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The own stream twice."""
        return own, own


def _without_correspondence(model: LoCo, state_dict: dict[str, Any], *_: Any) -> None:
    """Drop from a state dict about to be loaded what the model has no use for: the part that is for training only."""
    if model.correspondence is None:
        for name in [name for name in state_dict if name.startswith("correspondence.")]:
            del state_dict[name]
