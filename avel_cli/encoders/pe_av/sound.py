"""`pe-av-sound`: two seconds of sound as a vector beside which text and pictures can be laid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from avel_cli.encoders.base import Encoder

RATE = 48_000


@dataclass(frozen=True)
class PEAVSoundConfig:
    """How sound is cut.

    Attributes:
        seconds: length of a window; whole steps of 40 ms, so that nothing is padded.
    """

    seconds: int = 2


class PEAVSound(Encoder):
    """Windows of two seconds, one every second."""

    Config = PEAVSoundConfig
    config: PEAVSoundConfig
    modality = "sound"
    together = 4

    def __init__(self, config: PEAVSoundConfig, tower: nn.Module, head: Any) -> None:
        super().__init__()
        self.config = config
        self.rate = self.stride = RATE
        self.window = config.seconds * RATE
        self.tower, self.head = tower, head
        self.shape = (head.proj.out_features,)

    def encode(self, windows: Tensor) -> Tensor:
        """The vector of each window `[N, samples]`."""
        vectors: Tensor = self.head(self.tower(input_values=windows.unsqueeze(1)).pooler_output)
        return vectors
