"""An encoder, a localizer, a data set and a format as somebody would add them: each in one place, for `test_tables`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli.datasets.ave_clips import of_clips
from avel_cli.datasets.base import DataSet, Request
from avel_cli.datasets.findings import Finding
from avel_cli.encoders.base import Encoder
from avel_cli.localizers.base import ClipBatch, Localizer
from avel_cli.localizers.cace_net.loss import clip_loss, segment_loss
from avel_cli.tasks.base import Data
from avel_cli.timeline.events import Timeline
from tests.training.made_clips import MadeClips


@dataclass(frozen=True)
class LoudnessConfig:
    """How wide."""

    width: int = 6


class Loudness(Encoder):
    """The loudness of each second, through a linear layer."""

    Config = LoudnessConfig
    modality = "sound"

    def __init__(self, config: LoudnessConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = self.stride = self.window = 8000
        self.shape = (config.width,)
        self.layer = nn.Linear(1, config.width)

    def encode(self, windows: Tensor) -> Tensor:
        """Root mean square of each window."""
        loudness: Tensor = self.layer(windows.square().mean(-1, keepdim=True).sqrt())
        return loudness


class JointOutput(NamedTuple):
    """Logits `[B, T]` and `[B, K]`."""

    event_logits: Tensor
    category_logits: Tensor

    @property
    def decodable(self) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.event_logits, self.category_logits


@dataclass(frozen=True)
class JointConfig:
    """Sizes."""

    audio_dim: int = 6
    visual_dim: int = 5
    num_classes: int = 3
    d_model: int = 8


@dataclass(frozen=True)
class JointWeights:
    """Of the category's term."""

    category: float = 1.0


class Joint(Localizer):
    """Two linear layers on joined features."""

    Config: ClassVar = JointConfig
    Loss: ClassVar = JointWeights
    task: ClassVar = "clips"

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.audio_dim + config.visual_dim, config.d_model)
        self.event = nn.Linear(config.d_model, 1)
        self.category = nn.Linear(config.d_model, config.num_classes)

    def forward(self, audio: Tensor, visual: Tensor) -> JointOutput:
        """Of features `[B, T, D]` and `[B, T, H, W, D]`."""
        joined = F.relu(self.first(torch.cat([audio, visual.mean(dim=(2, 3))], dim=2)))
        return JointOutput(self.event(joined).squeeze(-1), self.category(joined.amax(dim=1)))

    def loss(self, output: JointOutput, batch: ClipBatch, weights: JointWeights, state: nn.Module) -> dict[str, Tensor]:
        """Both terms."""
        event = segment_loss(output.event_logits, batch.labels, self.config.num_classes)
        category = clip_loss(output.category_logits, batch.labels)
        return {"total": event + weights.category * category, "event": event, "category": category}


def open_made_up(request: Request) -> Data:
    """Clips that are made up, whatever lies in the folder."""
    parts: dict[Any, MadeClips] = {part: MadeClips(24, len(part) + ord(part[1])) for part in request.parts}
    return of_clips(parts, MadeClips.names, ("loudness", "efficientnet-lite0"))


DATASET = DataSet(
    open_made_up, ("clips",), check=lambda folder: [Finding("folder", "ok" if folder.is_dir() else "missing", "there")]
)


def write_count(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """How many events there are."""
    stream.writelines(f"{len(timeline.events)} events\n" for timeline in timelines)
