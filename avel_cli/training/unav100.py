"""Training on UnAV-100: a recipe for dense localizers that also names the features and the split that chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avel_cli.datasets.unav100 import I3D, ONE_PEACE, FeatureSet
from avel_cli.training.dense import DenseRecipe

FEATURES = {"i3d": I3D, "onepeace": ONE_PEACE}


@dataclass(frozen=True)
class UnAV100Recipe(DenseRecipe):
    """How a dense localizer is trained on UnAV-100.

    Attributes:
        features: which published set it learns from.
        select: the split that chooses the epoch: `val`, or `test`, whose figures are then too good.
    """

    features: Literal["i3d", "onepeace"] = "onepeace"
    select: Literal["val", "test"] = "val"

    @property
    def feature_set(self) -> FeatureSet:
        """The features it learns from."""
        return FEATURES[self.features]

    @property
    def selection(self) -> str:
        """How the epoch is chosen, in words that go with every figure."""
        if self.select == "val":
            return "epoch chosen on validation"
        return "epoch chosen on TEST: figures on test are those of the luckiest epoch"
