"""Randomness that depends on nothing but the seed of the run and the step."""

import torch
from torch import Generator


def seeded(seed: int, step: int) -> Generator:
    """The generator of one step: a resumed run draws what an uninterrupted one would have drawn."""
    return torch.Generator().manual_seed(seed * 10_000_000 + step)
