"""`starter-sound`: our own sound encoder, taught by EfficientAT mn04 what AudioSet's 527 classes sound like.

The trunk is that of EfficientNet-Lite0 on log-mel pictures; `training/distil.py` teaches it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.efficientat import CLASSES, RATE
from avel_cli.encoders.efficientnet_lite0 import HEAD, LiteTrunk
from avel_cli.encoders.mel import LogMel


@dataclass(frozen=True)
class StarterSoundConfig:
    """The log-mel picture that the network sees.

    Attributes:
        bands: mel bands.
        hop: samples from one column to the next, at 32 kHz.
        seconds: length of a window.
    """

    bands: int = 64
    hop: int = 640
    seconds: int = 2


class StarterSound(Encoder):
    """Each second of sound, with half a second on either side, to 1,280 numbers in 0..6.

    `tag` makes logits of AudioSet's classes of them.
    """

    Config = StarterSoundConfig
    config: StarterSoundConfig
    modality = "sound"
    together = 8

    def __init__(self, config: StarterSoundConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = self.stride = RATE
        self.window = config.seconds * RATE
        self.context = (self.window - RATE) // 2
        self.shape = (HEAD,)
        self.mel = LogMel(config.bands, config.hop)
        self.trunk = LiteTrunk(1)
        self.classifier = nn.Linear(HEAD, CLASSES)
        nn.init.constant_(self.classifier.bias, -5.0)  # most of the classes are absent most of the time

    def forward(self, waves: Tensor) -> Tensor:
        """Embeddings `[N, 1280]` of waves `[N, samples]`, float32 in -1..1 at 32 kHz."""
        return self.embed(self.mel(waves))

    def embed(self, pictures: Tensor) -> Tensor:
        """Embeddings `[N, 1280]` of log-mel pictures `[N, bands, frames]`."""
        maps: Tensor = self.trunk(pictures.unsqueeze(1))
        return maps.mean(dim=(2, 3))

    def encode(self, windows: Tensor) -> Tensor:
        """The embedding of each window."""
        embeddings: Tensor = self(windows)
        return embeddings

    def tag(self, embeddings: Tensor) -> Tensor:
        """Logits `[..., 527]` of AudioSet's classes from embeddings `[..., 1280]`."""
        logits: Tensor = self.classifier(embeddings)
        return logits


class StarterSoundDense(StarterSound):
    """The same network every quarter of a second."""

    Config = StarterSoundConfig

    def __init__(self, config: StarterSoundConfig) -> None:
        super().__init__(config)
        self.stride = RATE // 4
