"""F1 over all segments and labels of clips whose segments may have any labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

THRESHOLDS = torch.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class F1Figures:
    """F1 in percent.

    Attributes:
        f1: of the localizer.
        reference: of answers that need none, by name.
    """

    f1: float
    reference: dict[str, float]
    unit: ClassVar = "segment F1, %"

    @property
    def score(self) -> float:
        """The figure that chooses an epoch: F1."""
        return self.f1

    def cells(self) -> dict[str, float]:
        """The figures of a row of a table, by column."""
        return {"segment F1": self.f1}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"segment F1": self.f1, **{f"segment F1, {name}": value for name, value in self.reference.items()}}


def f1(scores: Tensor, targets: Tensor, threshold: float) -> float:
    """F1 in percent of all segments and labels together, of scores and targets of one shape."""
    told, true = scores >= threshold, targets.bool()
    right = int((told & true).sum())
    return 200.0 * right / max(1, int(told.sum()) + int(true.sum()))


def best_f1(scores: Tensor, targets: Tensor, chosen_on: tuple[Tensor, Tensor] | None = None) -> float:
    """F1 at the threshold that is best on `chosen_on`, scores and targets of another part; of the same, if None."""
    others = chosen_on or (scores, targets)
    threshold = max(THRESHOLDS.tolist(), key=lambda value: f1(*others, value))
    return f1(scores, targets, threshold)
