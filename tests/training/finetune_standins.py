"""Encoders so small that a run of fine-tuning takes seconds; they stand in for resnet50 and cnn14."""

from dataclasses import dataclass

import torch
from torch import nn

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.frame_maps import FrameMaps
from avel_cli.encoders.frames import resize


@dataclass(frozen=True)
class TinyPictureConfig:
    frames_per_second: int = 2
    norm: bool = True


class TinyPicture(FrameMaps):
    Config = TinyPictureConfig

    def __init__(self, config):
        super().__init__(config.frames_per_second, channels=16)
        self.config = config
        norm = nn.BatchNorm2d(16) if config.norm else nn.Identity()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 2, stride=2), norm, nn.ReLU(), nn.Conv2d(16, 16, 1))

    def picture(self, frame):
        return resize(frame, 14, 14, antialias=False).float() / 128 - 1


@dataclass(frozen=True)
class TinySoundConfig:
    pass


class TinySound(Encoder):
    """Energies of 16 bands of a second."""

    Config = TinySoundConfig
    modality = "sound"
    rate = window = stride = 8000
    shape = (16,)

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.ones(1))

    def encode(self, windows):
        bands = torch.fft.rfft(windows).abs()[:, :4000].unflatten(1, (16, 250)).mean(2)
        return self.gain * (bands / (bands.amax(1, keepdim=True) + 1e-6))
