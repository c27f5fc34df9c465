"""`starter-picture`: a small picture encoder of our own, trained from scratch; keeps the map of positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.residual import ResidualTrunk


@dataclass(frozen=True)
class StarterPictureConfig:
    """Sizes of the network, and the classes its tagger head knows (training and late fusion only)."""

    width: int = 40
    embedding: int = 128
    size: int = 96
    frames_per_second: int = 4
    classes: tuple[str, ...] = ()


class StarterPicture(Encoder):
    """Frames to a map of 128 numbers at 6x6 positions. Modelled on AVE's VGG-19 `pool5` features in form only.

    Frames are squeezed to `size` x `size` whatever their aspect, as AVE's were (reference: cace-net §7).
    """

    config: StarterPictureConfig
    modality = "picture"
    averages = True

    def __init__(self, config: StarterPictureConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = self.window = self.stride = config.frames_per_second
        self.size = (config.size, config.size)
        self.shape = (config.size // 16, config.size // 16, config.embedding)
        self.trunk = ResidualTrunk(3, config.width, config.embedding)
        self.head = nn.Linear(config.embedding, len(config.classes))

    @property
    def dim(self) -> int:
        """Channels of the map."""
        return self.config.embedding

    def forward(self, frames: Tensor) -> Tensor:
        """Maps `[N, H/16, W/16, D]`, non-negative, of RGB frames: uint8 `[N, H, W, 3]`."""
        pixels = frames.permute(0, 3, 1, 2).to(self.head.weight.dtype)
        return self.maps(pixels / 127.5 - 1.0)

    def maps(self, pixels: Tensor) -> Tensor:
        """Maps `[N, H/16, W/16, D]` of pixels `[N, 3, H, W]` in -1..1."""
        maps: Tensor = self.trunk(pixels.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        return maps

    def prepare(self, units: Tensor) -> Tensor:
        """The map of each frame."""
        maps: Tensor = self(units)
        return maps

    def encode(self, windows: Tensor) -> Tensor:
        """The mean map of each window."""
        return windows.mean(1)

    def tag(self, maps: Tensor) -> Tensor:
        """Class logits `[..., K]` of maps `[..., H, W, D]`: a linear layer on the mean over positions."""
        logits: Tensor = self.head(maps.mean(dim=(-3, -2)))
        return logits


StarterPictureDenseConfig = StarterPictureConfig


class StarterPictureDense(StarterPicture):
    """The same network every quarter of a second on the second that begins there, without the map of positions.

    Mean and maximum over the positions tell what fills the picture, and what is only somewhere in it.
    """

    averages = False

    def __init__(self, config: StarterPictureConfig) -> None:
        super().__init__(config)
        self.stride = 1
        self.shape = (2 * config.embedding,)

    def prepare(self, units: Tensor) -> Tensor:
        """What is seen in each frame."""
        return self.pooled(self(units))

    def pooled(self, maps: Tensor) -> Tensor:
        """Mean and maximum over the positions, `[N, 2 D]`, of maps `[N, H, W, D]`."""
        return torch.cat([maps.mean(dim=(1, 2)), maps.amax(dim=(1, 2))], dim=1)
