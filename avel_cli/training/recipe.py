"""The recipe of a localizer: everything that a run depends on beside the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from avel_cli import localizers, recipes
from avel_cli.datasets import dataset
from avel_cli.training.loop import Schedule


@dataclass(frozen=True)
class Recipe:
    """How a localizer is trained.

    Attributes:
        name: of the recipe and of the weights.
        description: what the weights find, for people.
        licence: of the weights.
        dataset: what it learns from, a key of `datasets.DATASETS`.
        network: what is trained, a key of `localizers.LOCALIZERS`.
        schedule: of the loop.
        seed: of weights, order and everything drawn.
        select: the part that chooses the epoch: `val`, `test`, which is what the literature does, or `last` for the
            last one whatever it is.
        encoders: that made the features of sound and picture, for those who use the weights.
        threshold: what a segment or proposal must exceed, and `min_score`: what an event must score in `avel detect`.
        half: write the weights as float16.
        model: sizes and switches of the network; the widths of features and the number of classes are filled in.
        loss: weights of its loss, see `Localizer.Loss`.
        data: how the data set is used, see `DataSet.Options`.
    """

    name: str
    description: str
    licence: str
    dataset: str
    network: str
    schedule: Schedule
    seed: int = 1
    select: Literal["val", "test", "last"] = "val"
    encoders: tuple[str, ...] = ()
    threshold: float = 0.5
    min_score: float = 0.0
    half: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.encoders and len(self.encoders) < 2:
            raise ValueError("encoders are two, of sound and of picture")
        self.loss_weights()  # a wrong key should be said before data is read
        self.data_options()
        self.config(self.smallest())

    @property
    def trains(self) -> str:
        """What `--model` calls the network."""
        name: str = self.model.get("network", self.network)
        return name.removeprefix("tagged-").removesuffix("-weak")

    @property
    def selection(self) -> str:
        """How the epoch is chosen, in words that go with every figure."""
        return {
            "val": "epoch chosen on val",
            "test": "epoch chosen on TEST, as in the literature: figures on test are those of the luckiest epoch",
            "last": "the last epoch",
        }[self.select]

    def smallest(self) -> dict[str, Any]:
        """Sizes with which the configuration can be checked before there is data."""
        return localizers.localizer_class(self.network).smallest

    def config(self, sizes: dict[str, Any]) -> Any:
        """The configuration of the network for features and classes of these sizes."""
        kind = localizers.localizer_class(self.network)
        return recipes.build(kind.Config, {**self.model, **sizes}, "model.")

    def loss_weights(self) -> Any:
        """The weights of the loss."""
        return recipes.build(localizers.localizer_class(self.network).Loss, self.loss, "loss.")

    def data_options(self) -> Any:
        """How the data set is used."""
        return recipes.build(dataset(self.dataset).Options, self.data, "data.")
