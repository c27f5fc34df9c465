"""Clips of ten seconds with known answers, composed as sequences are and encoded second by second."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from avel_cli.datasets.composed import Mixture, Pool
from avel_cli.datasets.composed_dense import Plan, drawn, picture_track, planned, sound_track
from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0
from avel_cli.encoders.starter_sound import StarterSound

SEGMENTS = 10
FRAMES = 1  # pictures a second; a still with a moving crop differs little within one
DURATIONS = (float(SEGMENTS), float(SEGMENTS))
LEAST = 0.5  # seconds of a segment that an event must fill to count in it


class ComposedClips(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Encoded clips: audio `[10, D_a]`, visual `[10, H, W, D_v]`, targets `[10, L]`, 1 where a label is an event."""

    def __init__(self, audio: Tensor, visual: Tensor, targets: Tensor) -> None:
        self.audio, self.visual, self.targets = audio, visual, targets

    def __len__(self) -> int:
        """How many clips."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """One clip, in float32."""
        return self.audio[index], self.visual[index].float(), self.targets[index].float()


def targets(plan: Plan, labels: int) -> Tensor:
    """`[10, L]` of a plan of ten seconds: 1 where an event fills half of a second."""
    filled = torch.zeros(SEGMENTS, labels)
    for event in plan.events():
        starts = torch.arange(SEGMENTS)
        filled[:, event.label] += (
            (event.end - starts).clamp(max=1).sub((event.start - starts).clamp(min=0)).clamp(min=0)
        )
    return (filled >= LEAST).to(torch.uint8)


def answers(pool: Pool, names: Sequence[str], mixture: Mixture) -> Tensor:
    """The targets `[N, 10, L]` of clips."""
    return torch.stack([targets(planned(pool, mixture, name, DURATIONS), len(pool.sounds)) for name in names])


@torch.inference_mode()
def heard(pool: Pool, sound: StarterSound, names: Sequence[str], mixture: Mixture) -> Tensor:
    """What is heard in clips, `[N, 10, D_a]`; the same name gives the same clip."""
    features = []
    for name in names:
        wave = sound_track(planned(pool, mixture, name, DURATIONS), pool, drawn(name, "sound"))
        features.append(sound(F.pad(wave, (sound.context, sound.context)).unfold(0, sound.window, sound.stride)))
    return torch.stack(features)


@torch.inference_mode()
def seen(pool: Pool, picture: EfficientNetLite0, names: Sequence[str], mixture: Mixture) -> Tensor:
    """What is seen in clips, float16 `[N, 10, H, W, D_v]`; the same name gives the same clip."""
    features = []
    for name in names:
        plan = planned(pool, mixture, name, DURATIONS)
        frames, shown = picture_track(plan, pool, picture.config.size, drawn(name, "picture"))
        pictures = (frames[shown[:: 4 // FRAMES]] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        with torch.autocast("cpu", torch.bfloat16):
            maps = picture.maps(pictures).float()
        features.append(maps.view(SEGMENTS, FRAMES, *maps.shape[1:]).mean(1).half())
    return torch.stack(features)
