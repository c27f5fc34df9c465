"""From the names of published tensors to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

Rules = tuple[tuple[str, str | None], ...]


def renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """`state` with every rule applied in turn: a pattern, and what takes its place; None drops the tensor."""
    names = {name: _renamed(name, rules) for name in state}
    return {ours: state[theirs] for theirs, ours in names.items() if ours is not None}


def _renamed(name: str, rules: Rules) -> str | None:
    for pattern, replacement in rules:
        if replacement is not None:
            name = re.sub(pattern, replacement, name)
        elif re.search(pattern, name):
            return None
    return name
