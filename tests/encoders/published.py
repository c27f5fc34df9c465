"""How the reference numbers of the published encoders were made, and how to compare with them.

Weights are drawn by a rule from the sorted names of the published state dict, sound is a formula with a seed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PARITY = Path(__file__).parents[1] / "data" / "parity"
NETWORK_TOLERANCE = 2e-5  # of the largest value, between float32 implementations of one network
AS_BUILT = ("num_batches_tracked", "version", "rp_bucket")  # counted by the rule, but not drawn
CONSTANTS = ("spectrogram_extractor.", "logmel_extractor.")


@cache
def fixture() -> Mapping[str, np.ndarray]:
    """All reference numbers by key."""
    return dict(np.load(PARITY / "encoders.npz"))


def published_shapes(network: str, section: str = "tensors") -> dict[str, list[int]]:
    """Shape of every tensor of `<network>.state_dict.json`, by published name.

    For flow: `published_shapes("i3d") | published_shapes("i3d", "flow_overrides")`.
    """
    shapes: dict[str, list[int]] = json.loads((PARITY / f"{network}.state_dict.json").read_text())[section]
    return shapes


def rule_weight(name: str, index: int, shape: Sequence[int]) -> Tensor:
    """The tensor `name`, which is number `index` of the sorted names."""
    z = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(1000 + index))
    leaf = name.rpartition(".")[2]
    if z.ndim > 1:
        return 0.05 * z
    if leaf == "running_var":
        return 1 + 0.01 * z.abs()
    return 1 + 0.01 * z if leaf == "weight" or leaf.startswith("gamma_") else 0.01 * z


def rule_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """State dict for `published_shapes(...)`, without what the rule leaves as it is built (counters, constants)."""
    return {
        name: rule_weight(name, index, shapes[name])
        for index, name in enumerate(sorted(shapes))
        if not name.endswith(AS_BUILT) and not name.startswith(CONSTANTS)
    }


def signal(rate: int, seconds: float, seed: int) -> np.ndarray:
    """Three tones that come and go, with noise: float64 `[rate * seconds]`, exact 16-bit values over 32768."""
    n = int(rate * seconds)
    t = np.arange(n) / rate
    x = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 1000 * t + 0.5)
    x += 0.1 * np.sin(2 * np.pi * (200 * t + 600 * t**2))
    x = x * (0.5 + 0.5 * np.sin(2 * np.pi * 1.5 * t)) + 0.05 * np.random.RandomState(seed).standard_normal(n)
    return np.round(np.clip(x, -1, 1) * 32767).astype(np.int16) / 32768


def deviation(ours: Any, theirs: Any) -> float:
    """Largest difference; the shapes must agree."""
    ours, theirs = (np.asarray(torch.as_tensor(x).detach(), dtype=np.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def relative_deviation(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest magnitude of the reference, which `NETWORK_TOLERANCE` bounds."""
    return deviation(ours, theirs) / float(np.abs(np.asarray(torch.as_tensor(theirs))).max())


def misfits(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Names that `state` lacks, has too many or has in another shape: what a loader must refuse."""
    theirs, ours = ({k: v.shape for k, v in one.items()} for one in (state, module.state_dict()))
    names = theirs.keys() | ours.keys()
    return sorted(k for k in names if theirs.get(k) != ours.get(k) and not k.endswith("num_batches_tracked"))
