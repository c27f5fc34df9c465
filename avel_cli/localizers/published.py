"""Filling our networks from the state dicts of published ones, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from avel_cli.errors import ModelError


def fill(views: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], network: str, idle: str = "") -> None:
    """Copy a published state dict into `views`, our tensors under their published names and in their published shapes.

    The prefix `module.` is optional; names that match the pattern `idle` are passed over.

    Raises:
        ModelError: if a parameter is missing, unknown or of another shape; the text names `network` and them.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    passed_over = re.compile(idle)
    problems = {
        "missing": views.keys() - given.keys(),
        "unexpected": {name for name in given.keys() - views.keys() if not passed_over.fullmatch(name)},
        "wrong shape": {
            f"{name} {tuple(given[name].shape)} for {tuple(view.shape)}"
            for name, view in views.items()
            if name in given and given[name].shape != view.shape
        },
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise ModelError(f"these weights are not of this {network}: {found}")
    for name, view in views.items():
        view.copy_(given[name])


def _some(names: Iterable[str], most: int = 8) -> str:
    """The first few names in order, and how many there are in all if that is more."""
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f", … ({len(ordered)} in all)" if len(ordered) > most else "")
