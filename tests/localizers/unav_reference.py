"""How the reference numbers of the published UnAV were made."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PARITY = Path(__file__).parents[1] / "data" / "parity"
LENGTH = 64  # steps that every video is padded to


def published_weights() -> dict[str, Tensor]:
    """The state dict that the reference was computed from, under its published names."""
    entries = json.loads((PARITY / "unav.state_dict.json").read_text())["entries"]
    return {name: _weight(index, name, shape) for index, name, shape in entries}


def _weight(index: int, name: str, shape: list[int]) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1000 + index))
    is_norm = len(shape) == 3 and shape[0] == shape[2] == 1 and name.endswith(".weight")
    if is_norm or not shape:
        return drawn.mul_(0.01).add_(1)
    return drawn.mul_(0.01 if name.endswith(".bias") else 0.05)


def published_inputs(reference: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """`audio`, `visual` and `mask` of the two videos, padded."""

    def batch(name: str) -> Tensor:
        videos = (torch.from_numpy(reference[f"in{i}_{name}"]) for i in range(2))
        return torch.stack([F.pad(video, (0, LENGTH - video.shape[1])) for video in videos]).mT

    lengths = torch.tensor([reference[f"in{i}_audio"].shape[1] for i in range(2)])
    return {"audio": batch("audio"), "visual": batch("visual"), "mask": torch.arange(LENGTH) < lengths[:, None]}
