"""`starter-sound`: a small log-mel sound encoder of our own, trained from scratch; one embedding a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.residual import ResidualTrunk

FLOOR = 1e-8  # power of a mel band that counts as silence: about -80 dB below full scale


@dataclass(frozen=True)
class StarterSoundConfig:
    """Sizes of the network, and the classes its tagger head knows (training and late fusion only)."""

    width: int = 32
    embedding: int = 128
    sample_rate: int = 16000
    mels: int = 64
    classes: tuple[str, ...] = ()


class StarterSound(Encoder):
    """One second of sound to 128 numbers: 127 learnt ones that ignore the level, and the level itself.

    The log-mel picture of each second is shifted to mean zero, so that a quiet recording looks like a loud one;
    what that loses, how loud the second was, is appended as the last number (0 at the floor, 1 at full scale).
    """

    config: StarterSoundConfig
    modality = "sound"

    def __init__(self, config: StarterSoundConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = self.window = self.stride = config.sample_rate
        self.shape = (config.embedding,)
        self.mel = MelSpectrogram(
            config.sample_rate, n_fft=512, win_length=400, hop_length=160, f_min=50, f_max=7800, n_mels=config.mels
        )
        for name, buffer in list(self.mel.named_buffers()):  # constants: recomputed, not stored with the weights
            owner, _, leaf = name.rpartition(".")
            self.mel.get_submodule(owner).register_buffer(leaf, buffer, persistent=False)
        self.trunk = ResidualTrunk(1, config.width, config.embedding - 1)
        self.head = nn.Linear(config.embedding - 1, len(config.classes))

    @property
    def dim(self) -> int:
        """Length of one embedding."""
        return self.config.embedding

    def forward(self, waves: Tensor) -> Tensor:
        """Embeddings `[N, D]` of one-second waves `[N, sample_rate]`, float32 in -1..1."""
        return self.embed(*self.spectrogram(waves))

    def spectrogram(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Level-free log-mel pictures `[N, 1, mels, 101]` and levels `[N, 1]` in 0..1 of waves `[N, samples]`."""
        with torch.autocast(waves.device.type, enabled=False):  # squares of quiet samples need the precision
            logs = torch.log(self.mel(waves) + FLOOR)
        level = logs.mean(dim=(1, 2), keepdim=True)
        pictures = (logs - level) / 4.0
        span = -torch.log(torch.tensor(FLOOR)).item()
        return pictures.unsqueeze(1), level.flatten(1) / span + 1.0

    def embed(self, pictures: Tensor, levels: Tensor) -> Tensor:
        """Embeddings `[N, D]` of what `spectrogram` returns."""
        maps = self.trunk(pictures.contiguous(memory_format=torch.channels_last))
        pooled = maps.mean(dim=(2, 3)) + maps.amax(dim=(2, 3))  # mean for textures, maximum for single strokes
        return torch.cat([pooled, levels.to(pooled.dtype)], dim=1)

    def encode(self, windows: Tensor) -> Tensor:
        """The embedding of each second."""
        embeddings: Tensor = self(windows)
        return embeddings

    def tag(self, embeddings: Tensor) -> Tensor:
        """Class logits `[..., K]` of embeddings `[..., D]`; the level takes no part."""
        logits: Tensor = self.head(embeddings[..., :-1])
        return logits


StarterSoundDenseConfig = StarterSoundConfig


class StarterSoundDense(StarterSound):
    """The same network every quarter of a second on the second that begins there."""

    def __init__(self, config: StarterSoundConfig) -> None:
        super().__init__(config)
        self.stride = config.sample_rate // 4
