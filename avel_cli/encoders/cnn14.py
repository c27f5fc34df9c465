"""`cnn14`: Cnn14 of PANNs at 32 kHz (arXiv 1912.10211), the sound half of CACE-Net's efficient encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from avel_cli.encoders.base import Encoder

RATE = 32000
FFT, HOP, MELS = 1024, 320, 64
LOWEST, HIGHEST = 50.0, 14000.0  # Hz
FLOOR = 1e-10  # power that counts as silence: -100 dB
WIDTHS = (64, 128, 256, 512, 1024, 2048)
CLASSES = 527  # of AudioSet
PREFIXES = ("backbone.", "module.")
CONSTANTS = ("spectrogram_extractor.", "logmel_extractor.")  # the front end, which is computed here


@dataclass(frozen=True)
class Cnn14Config:
    """Nothing is left to choose."""


class ConvBlock(nn.Module):
    """Two convolutions, each normalised and rectified."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, channels, T, F]` from `[N, in_channels, T, F]`."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return x


class Cnn14(Encoder):
    """2048 numbers from 0 up for each second, each second on its own."""

    Config = Cnn14Config
    modality = "sound"
    rate = window = stride = RATE
    shape = (WIDTHS[-1],)
    resampler = "kaiser"
    hann: Tensor
    mels: Tensor

    def __init__(self, config: Cnn14Config) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm2d(MELS)
        for number, (before, width) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False), start=1):
            self.add_module(f"conv_block{number}", ConvBlock(before, width))
        self.fc1 = nn.Linear(WIDTHS[-1], WIDTHS[-1])
        self.fc_audioset = nn.Linear(WIDTHS[-1], CLASSES)
        with torch.device("cpu"):  # it cannot be made without values, as a network is while weights are checked
            mels = melscale_fbanks(FFT // 2 + 1, LOWEST, HIGHEST, MELS, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("hann", torch.hann_window(FFT), persistent=False)
        self.register_buffer("mels", mels, persistent=False)

    def logmel(self, windows: Tensor) -> Tensor:
        """Mel bands in dB, float32 `[N, 1 + samples / 320, 64]`, of windows `[N, samples]` in -1..1."""
        with torch.autocast(windows.device.type, enabled=False):
            spectrum = torch.stft(windows.float(), FFT, HOP, window=self.hann, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            return 10 * torch.log10((power.mT @ self.mels).clamp(min=FLOOR))

    def embed(self, logmel: Tensor) -> Tensor:
        """Features `[N, 2048]` of what `logmel` returns."""
        x = self.bn0(logmel.unsqueeze(1).transpose(1, 3)).transpose(1, 3)  # each band has its own norm
        for number in range(1, len(WIDTHS)):
            x = F.avg_pool2d(self.get_submodule(f"conv_block{number}")(x), 2)
        x = self.get_submodule(f"conv_block{len(WIDTHS)}")(x).mean(dim=3)
        features: Tensor = self.fc1(x.amax(dim=2) + x.mean(dim=2)).relu()
        return features

    def encode(self, windows: Tensor) -> Tensor:
        """Features `[N, 2048]` of windows `[N, 32000]`."""
        return self.embed(self.logmel(windows))

    def tag(self, embeddings: Tensor) -> Tensor:
        """Logits `[..., 527]` of the classes of AudioSet, of features `[..., 2048]`."""
        logits: Tensor = self.fc_audioset(embeddings)
        return logits

    @staticmethod
    def from_published(*states: Mapping[str, Any]) -> dict[str, Tensor]:
        """The original training file or a copy of its network, under whichever prefix, less the fixed front end."""
        [state] = states
        named = {without_prefix(name): tensor for name, tensor in state.get("model", state).items()}
        return {name: tensor for name, tensor in named.items() if not name.startswith(CONSTANTS)}


def without_prefix(name: str) -> str:
    """The name that the original gives a tensor."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
