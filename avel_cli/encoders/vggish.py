"""`vggish`: the sound features of AVE and UnAV-100 (Hershey et al., arXiv 1609.09430), in their PyTorch port.

Features are the last layer after its ReLU, as they are: neither projected on principal components nor quantised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.encoders.base import Encoder

RATE = 16000
FRAMES, MELS = 96, 64
FRAME, HOP, FFT = 400, 160, 512  # samples
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
OFFSET = 0.01  # added to each band, so that silence has a logarithm
WIDTHS = ((64,), (128,), (256, 256), (512, 512))  # of the convolutions between two poolings


@dataclass(frozen=True)
class VGGishConfig:
    """Samples from one feature to the next; a second in AVE's features."""

    stride: int = RATE


@dataclass(frozen=True)
class VGGishUnAVConfig(VGGishConfig):
    """UnAV-100's features are 0.32 s apart, as its picture features are."""

    stride: int = 5120


def mel_matrix() -> Tensor:
    """Weight `[257, 64]`, float64, of each frequency in each mel band.

    The triangles are linear in mel. Those of other libraries are linear in hertz, which moves the features.
    """
    pitches = torch.log1p(torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.float64) / 700)  # in 1127 mel
    lowest, highest = (math.log1p(edge / 700) for edge in (LOWEST, HIGHEST))
    edges = torch.linspace(lowest, highest, MELS + 2, dtype=torch.float64)
    slopes = (pitches.unsqueeze(1) - edges) / (edges[1] - edges[0])
    return torch.minimum(slopes[:, :-2], -slopes[:, 2:]).clamp(min=0)


class VGGish(Encoder):
    """128 numbers from 0 up for the first 0.975 s of each second: the rule of AVE's features."""

    Config = VGGishConfig
    modality = "sound"
    rate = RATE
    window = FRAME + (FRAMES - 1) * HOP
    shape = (128,)
    resampler = "kaiser"
    hann: Tensor
    mels: Tensor

    def __init__(self, config: VGGishConfig) -> None:
        super().__init__()
        self.config = config
        self.stride = config.stride
        self.features = nn.Sequential(*convolutions())
        self.embeddings = nn.Sequential(
            *(nn.Linear(6 * 4 * 512, 4096), nn.ReLU()),
            *(nn.Linear(4096, 4096), nn.ReLU()),
            *(nn.Linear(4096, 128), nn.ReLU()),
        )
        self.register_buffer("hann", torch.hann_window(FRAME), persistent=False)
        self.register_buffer("mels", mel_matrix().float(), persistent=False)

    def logmel(self, windows: Tensor) -> Tensor:
        """Natural logarithms of mel bands, float32 `[N, 96, 64]`, of windows `[N, 15600]` in -1..1."""
        margin = (FFT - FRAME) // 2  # torch.stft puts each frame in the middle of its transform
        padded = F.pad(windows.float(), (margin, margin))
        with torch.autocast(windows.device.type, enabled=False):
            spectrum = torch.stft(padded, FFT, HOP, FRAME, self.hann, center=False, return_complex=True)
            return torch.log(spectrum.abs().mT @ self.mels + OFFSET)

    def embed(self, logmel: Tensor) -> Tensor:
        """Features `[N, 128]` of what `logmel` returns."""
        maps = self.features(logmel.unsqueeze(1))
        features: Tensor = self.embeddings(maps.movedim(1, -1).flatten(1))  # channels last, as in the original
        return features

    def encode(self, windows: Tensor) -> Tensor:
        """Features `[N, 128]` of windows `[N, 15600]`."""
        return self.embed(self.logmel(windows))

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published file as it is."""
        [state] = states
        return dict(state)


class VGGishUnAV(VGGish):
    """The same network every 0.32 s, each time on 0.975 s: the rule of UnAV-100's features."""

    Config = VGGishUnAVConfig


def convolutions() -> list[nn.Module]:
    """Blocks of convolutions, each block ended by a pooling."""
    layers: list[nn.Module] = []
    channels = 1
    for block in WIDTHS:
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return layers
