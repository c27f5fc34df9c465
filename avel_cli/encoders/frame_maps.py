"""What the picture encoders for AVE share: maps of single frames, averaged over each second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avel_cli.encoders.base import Encoder

FRAMES_PER_SECOND = 16  # of AVE's features
AT_ONCE = 8  # frames that go through the network together


class FrameMaps(Encoder):
    """The last maps of a picture network, channels last, as the mean over the frames of a second.

    A frame's maps depend on that frame alone, so the network runs in `prepare`, a few frames at a time.
    """

    modality = "picture"
    averages = True
    features: nn.Module

    def __init__(self, frames_per_second: int, channels: int) -> None:
        super().__init__()
        self.rate = self.window = self.stride = frames_per_second
        self.shape = (7, 7, channels)

    def picture(self, frame: Tensor) -> Tensor:
        """What the network wants of a frame: float32 `[1, 3, 224, 224]` from RGB uint8 `[1, H, W, 3]`."""
        raise NotImplementedError

    def prepare(self, units: Tensor) -> Tensor:
        """Maps `[n, 7, 7, C]`, float32, of frames `[n, H, W, 3]`."""
        return torch.cat([self._maps(frames) for frames in units.split(AT_ONCE)])

    def encode(self, windows: Tensor) -> Tensor:
        """Mean maps `[N, 7, 7, C]` of the maps of each second `[N, frames, 7, 7, C]`."""
        return windows.mean(dim=1)

    def _maps(self, frames: Tensor) -> Tensor:
        # frames are made small one by one: in float32, eight large ones would take a gigabyte
        maps: Tensor = self.features(torch.cat([self.picture(frame) for frame in frames.split(1)]))
        return maps.movedim(1, -1).float()
