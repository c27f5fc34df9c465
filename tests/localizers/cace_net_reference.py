"""How the reference numbers of the published network were made, and how to compare with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parents[1] / "data" / "parity"
NORMS = ("norm1.weight", "norm2.weight", "a_norm.weight", "v_norm.weight", "v_norm2.weight")
OFFICIAL_GUIDES = {
    "co-guide": "Co-Guide",
    "none": "None",
    "audio-guide": "Audio-Guide",
    "visual-guide": "Visual-Guide",
}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded_weight(entry: Mapping[str, Any]) -> Tensor:
    z = draw(1000 + entry["i"], *entry["shape"])
    if entry["name"].endswith(NORMS):
        return 1 + 0.01 * z
    return (0.05 if z.ndim > 1 else 0.01) * z


def relative_error(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest magnitude of the reference."""
    ours, theirs = (np.asarray(torch.as_tensor(x).detach(), dtype=np.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
