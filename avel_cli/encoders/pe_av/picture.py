"""`pe-av-picture`: sixteen frames of two seconds as a vector beside which text and sound can be laid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.frames import resize

AT_ONCE = 4  # frames on a CPU


@dataclass(frozen=True)
class PEAVPictureConfig:
    """How pictures reach the network.

    Attributes:
        size: side of the squeezed square in pixels.
        frames_per_second: with two seconds these are the sixteen frames of the `-16-frame` variants.
        seconds: length of a window.
    """

    size: int = 336
    frames_per_second: int = 8
    seconds: int = 2


class Projection(nn.Module):
    """The part of the tower's embedder that comes after the vision tower, which has seen each frame before."""

    def __init__(self, embedder: Any) -> None:
        super().__init__()
        self.proj, self.data_proj = embedder.proj, embedder.data_proj

    def forward(self, features: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the tower's layers take, `[N, frames, width]`, of features `[N, frames, K]` of unit length."""
        return self.data_proj(self.proj(features)), padding_mask


class PEAVPicture(Encoder):
    """Windows of two seconds, one every second. The vision tower sees each frame once however windows overlap."""

    Config = PEAVPictureConfig
    config: PEAVPictureConfig
    modality = "picture"
    together = 4

    def __init__(self, config: PEAVPictureConfig, tower: Any, head: Any) -> None:
        super().__init__()
        self.config = config
        self.rate = self.stride = config.frames_per_second
        self.window = config.seconds * self.rate
        self.vision, self.tower, self.head = tower.embedder.vision_model, tower, head
        tower.embedder = Projection(tower.embedder)
        self.shape = (head.proj.out_features,)

    def prepare(self, units: Tensor) -> Tensor:
        """What the vision tower says of each frame: `[n, K]`, of unit length."""
        some = AT_ONCE if units.device.type == "cpu" else len(units)
        parts = []
        for frames in units.split(some):
            pixels = resize(frames, self.config.size, self.config.size, antialias=True)
            logits = self.vision((pixels.float() / 255 - 0.5) / 0.5).logits
            parts.append(F.normalize(logits, dim=-1))
        return torch.cat(parts)

    def encode(self, windows: Tensor) -> Tensor:
        """The vector of each window `[N, frames, K]`."""
        vectors: Tensor = self.head(self.tower(pixel_values_videos=windows).pooler_output)
        return vectors
