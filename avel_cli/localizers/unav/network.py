"""UnAV (CVPR 2023): when is which event both seen and heard in an untrimmed video; events may overlap.

Only the network; published checkpoints are read in `unav_official.py`, losses are in `training/dense_losses.py`. The
published code is followed where it gave the published figures, but for two defects that show in its outputs: the order
of a mask in the dependency block, and what leaks out of padding. Both are repaired unless the config asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avel_cli.localizers.dense.blocks import (
    Block,
    DenseConfig,
    DenseHeads,
    DenseOutput,
    MaskedConv,
    Pyramid,
    UnimodalEncoder,
)
from avel_cli.localizers.dense.localizer import DenseLocalizer


@dataclass(frozen=True)
class UnAVConfig(DenseConfig):
    """Sizes of UnAV; the defaults are the published model for I3D (rgb and flow joined) and VGGish features.

    Attributes:
        dependency_dim: width for each class in the dependency block; 0 leaves the block out.
        chunk_classes: the dependency block goes through so many classes at a time (and through as large a share of the
            steps); 0 goes through all at once. The result is the same, the memory is not.
        checkpoint: compute the inside of the dependency block again in the backward pass instead of keeping it.
        official_padding: let padding leak as the published code does: norms leave their bias on padding, where the next
            convolution finds it, and pooling counts padding as 0. Logits at the end of a video then change by some
            hundredths with the padding behind it; published weights expect inputs padded to `max_seq_len`.
        official_mask_order: in the dependency block give each class the mask that the published code gives it, which in
            a batch is that of another video. For comparison with published numbers only.
    """

    dependency_dim: int = 128
    chunk_classes: int = 10
    checkpoint: bool = True
    official_padding: bool = False
    official_mask_order: bool = False


class DependencyBlock(nn.Module):
    """Every class at every step gets features of its own, and looks at itself over time and at the other classes."""

    def __init__(self, config: UnAVConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = 2 * config.d_model, config.dependency_dim
        self.expand = MaskedConv(width, config.num_classes * inner)
        self.squeeze = MaskedConv(config.num_classes * inner, width)
        clean, drop = not config.official_padding, config.drop_path
        self.temporal = Block(inner, 1, inner, drop_path=drop, clean=clean)
        self.cooccurrence = Block(inner, 1, inner, drop_path=drop)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, 2 * D]` from that; no residual."""
        classes = self.config.num_classes
        of_step = self.expand(x, mask).relu().unflatten(-1, (classes, -1))  # [B, T, K, C]
        of_class = of_step.transpose(1, 2)
        order = (classes, 1) if self.config.official_mask_order else (1, classes)
        masks = mask.repeat(order).view(-1, mask.shape[1])  # [B * K, T]
        over_time = self.in_chunks(self.temporal, of_class.flatten(0, 1), masks).view(of_class.shape)
        over_classes = self.in_chunks(self.cooccurrence, of_step.flatten(0, 1), None).view(of_step.shape)
        both = over_time.transpose(1, 2) + over_classes * mask[..., None, None]
        squeezed: Tensor = self.squeeze(both.flatten(2), mask)
        return squeezed

    def in_chunks(self, block: Block, rows: Tensor, masks: Tensor | None) -> Tensor:
        """`block` on `[R, L, C]`, where rows know nothing of each other."""
        classes = self.config.num_classes
        size = max(1, len(rows) * (self.config.chunk_classes or classes) // classes)
        again = self.config.checkpoint and torch.is_grad_enabled()
        chunks = rows.split(size)
        parts = []
        for part, mask in zip(chunks, [None] * len(chunks) if masks is None else masks.split(size), strict=True):
            parts.append(checkpoint(block, part, part, mask, use_reentrant=False) if again else block(part, part, mask))
        return torch.cat(parts)


class UnAV(DenseLocalizer):
    """Dense audio-visual event localizer with dependencies between classes (Geng et al., CVPR 2023)."""

    Config: ClassVar = UnAVConfig
    config: UnAVConfig

    def __init__(self, config: UnAVConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UnAVConfig()
        width, clean = config.d_model, not config.official_padding
        self.audio = UnimodalEncoder(config.audio_dim, config, clean=clean)
        self.visual = UnimodalEncoder(config.visual_dim, config, clean=clean)

        def block(stride: int) -> Block:
            return Block(width, config.heads, 4 * width, stride=stride, drop_path=config.drop_path, clean=clean)

        self.pyramid = Pyramid(block, config.levels)
        self.dependency = DependencyBlock(config) if config.dependency_dim else None
        self.heads = DenseHeads(2 * width, config, clean=clean)

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor) -> DenseOutput:
        """Logits and offsets at the points of every level.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, visual_dim]`, of the same steps.
            mask: `[B, T]`, bool, true on real steps; padding stands behind them.
        """
        features, masks = self.pyramid(self.audio(audio, mask), self.visual(visual, mask), mask)
        if self.dependency is not None:
            features = [self.dependency(x, m) for x, m in zip(features, masks, strict=True)]
        output: DenseOutput = self.heads(features, masks)
        return output
