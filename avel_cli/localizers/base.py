"""What every localizer has beside its network: a task, a loss of its own, how it behaves in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

TaskName = Literal["clips", "dense", "labels", "matching"]
Supervision = Literal["full", "weak"]


class ClipBatch(NamedTuple):
    """Clips of ten segments, of which this process has the features of its share only.

    Attributes:
        audio: `[b, 10, D]`.
        visual: `[b, 10, H, W, D]`.
        noise: `[b, 10, d_model]`, standard normal.
        labels: `[B, 10]` class indices; the number of categories stands for background.
        categories: `[B]`, the number of categories for none.
        videos: `[B]`, a number for each video.
    """

    audio: Tensor
    visual: Tensor
    noise: Tensor
    labels: Tensor
    categories: Tensor
    videos: Tensor


class LabelBatch(NamedTuple):
    """Clips whose segments may have any labels.

    Attributes:
        audio: `[b, 10, D]`.
        visual: `[b, 10, H, W, D]`.
        labels: `[B, 10, L]`, 1 where the label is an event.
    """

    audio: Tensor
    visual: Tensor
    labels: Tensor


class MatchBatch(NamedTuple):
    """Clips whose sound and picture go together.

    Attributes:
        audio: `[b, T, D]`.
        visual: `[b, T, C]`, means over positions.
        labels: `[B, T]` class indices, `num_classes` for background.
        videos: `[B]`, a number for each video.
        num_classes: categories.
    """

    audio: Tensor
    visual: Tensor
    labels: Tensor
    videos: Tensor
    num_classes: int


class DenseBatch(NamedTuple):
    """Untrimmed videos padded with zeros on the right.

    Attributes:
        audio: `[b, T, D]`.
        visual: `[b, T, D]`.
        mask: which steps are real, `[b, T]`, bool.
        segments: of each of the `B` videos, `[N, 2]`, begin and end in steps.
        labels: of each of the `B` videos, `[N]`.
    """

    audio: Tensor
    visual: Tensor
    mask: Tensor
    segments: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


@dataclass(frozen=True)
class NoWeights:
    """Of a loss of one term."""


class Localizer(nn.Module):
    """A network that finds events, with all that training and evaluation have to know of it.

    Attributes:
        Config: frozen dataclass of its sizes and switches: the table `model` of a recipe.
        Loss: frozen dataclass of the weights of its loss: the table `loss` of a recipe.
        task: the family of problem, a key of `tasks.TASKS`.
        smallest: what `Config` needs beside a recipe's table to be checked before there is data.
        config: what it was built from.
    """

    Config: ClassVar[type]
    Loss: ClassVar[type] = NoWeights
    task: ClassVar[TaskName]
    smallest: ClassVar[dict[str, Any]] = {}
    config: Any

    @property
    def supervision(self) -> Supervision:
        """Whether it learns from labels of segments, or of whole clips only."""
        return "full"

    def advance(self, weights: Any, step: int, steps: int) -> None:
        """Behave as in this step of a run; what is chosen from an early step answers as it did then."""

    def learn(self, batch: Any) -> Any:
        """The output for a batch of training."""
        return self(batch.audio, batch.visual)

    def loss(self, output: Any, batch: Any, weights: Any, state: nn.Module) -> dict[str, Tensor]:
        """Terms of the loss, scalars, with their weighted sum as `total`.

        Args:
            output: of the whole batch, float32 at least.
            batch: its labels.
            weights: an instance of `Loss`.
            state: what `loss_state` returned for this run.
        """
        raise NotImplementedError

    @staticmethod
    def loss_state(weights: Any) -> nn.Module:
        """What the loss remembers from step to step; kept in checkpoints with the network."""
        return nn.Module()

    def settle(self) -> None:
        """Take away what only training needs, once the weights are chosen."""
