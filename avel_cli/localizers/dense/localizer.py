"""What dense localizers share beside blocks: how they learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from avel_cli.localizers.base import DenseBatch, Localizer
from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.localizers.dense.loss import LCC_WEIGHT, LossNormaliser, Overlap, assign_labels, dense_loss


@dataclass(frozen=True)
class DenseWeights:
    """Weights of the terms.

    Attributes:
        normaliser: where the running number of positive points starts, see `LossNormaliser`.
        overlap: regression term.
        lcc: of the correspondence term.
    """

    normaliser: float = 250.0
    overlap: Overlap = "diou"
    lcc: float = LCC_WEIGHT


class DenseLocalizer(Localizer):
    """A localizer of events of any length in untrimmed video."""

    Loss: ClassVar = DenseWeights
    task: ClassVar = "dense"

    def learn(self, batch: DenseBatch) -> DenseOutput:
        """Logits and offsets of all points."""
        output: DenseOutput = self(batch.audio, batch.visual, batch.mask)
        return output

    def loss(
        self, output: DenseOutput, batch: DenseBatch, weights: DenseWeights, state: nn.Module
    ) -> dict[str, Tensor]:
        """See `dense_loss`."""
        assert isinstance(state, LossNormaliser)
        lengths = [logits.shape[1] for logits in output.logits]
        targets = assign_labels(batch.segments, batch.labels, lengths, output.logits[0].shape[2])
        return dense_loss(output, targets, state, overlap=weights.overlap, lcc_weight=weights.lcc)

    @staticmethod
    def loss_state(weights: DenseWeights) -> LossNormaliser:
        """The running number of positive points."""
        return LossNormaliser(weights.normaliser)
