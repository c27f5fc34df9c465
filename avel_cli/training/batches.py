"""The batches of a run by step, for each task. Seed and step alone decide what is in them: a run can be resumed.

One thing differs from the published programs on purpose: their order cannot be had without their way through the
random generator.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from avel_cli.datasets.dense import Sample, collate, crop
from avel_cli.localizers.base import ClipBatch, DenseBatch, LabelBatch, MatchBatch
from avel_cli.localizers.cace_net.loss import labels_from_one_hot
from avel_cli.tasks.base import Data
from avel_cli.training.processes import shard
from avel_cli.training.recipe import Recipe
from avel_cli.training.seeds import seeded

Batch = TypeVar("Batch", covariant=True)


class Batches(Protocol[Batch]):
    """What a run learns from.

    Attributes:
        epoch: steps of an epoch.
    """

    epoch: int

    def __call__(self, step: int) -> Batch:
        """The batch of this step, of which this process has the features of its share only."""
        ...


class Ahead(Generic[Batch]):
    """Batches, the next one being read while the network works."""

    def __init__(self, batches: Batches[Batch], steps: int) -> None:
        self._batches, self._steps = batches, steps
        self._reader = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        """The batch of this step."""
        for wanted in (step, step + 1):
            if wanted not in self._ahead and wanted < self._steps:
                self._ahead[wanted] = self._reader.submit(self._batches, wanted)
        return self._ahead.pop(step).result()


def shuffled(count: int, recipe: Recipe, step: int, epoch: int) -> Tensor:
    """Which of `count` examples are in a batch: each epoch goes through all, in an order of its own."""
    number, place = divmod(step, epoch)
    order = torch.randperm(count, generator=seeded(recipe.seed, number))
    batch: Tensor = order.split(recipe.schedule.batch)[place]
    return batch


class ClipBatches:
    """Clips with one category each; the last, smaller batch of an epoch is one."""

    def __init__(self, data: Data, recipe: Recipe, network: Any) -> None:
        self.clips, self.recipe, self.width = data.parts["train"], recipe, network.config.d_model
        self.epoch = -(-len(self.clips) // recipe.schedule.batch)

    def __call__(self, step: int) -> ClipBatch:
        """See `Batches`."""
        rows = shuffled(len(self.clips), self.recipe, step, self.epoch)
        sample = self.clips.batch(shard(rows))
        noise = torch.randn(len(rows), sample.audio.shape[1], self.width, generator=seeded(self.recipe.seed, step))
        return ClipBatch(
            sample.audio,
            sample.visual,
            noise[shard(torch.arange(len(rows)))],
            labels_from_one_hot(self.clips.labels[rows]),
            self.clips.bags[rows].argmax(dim=-1),
            self.clips.videos[rows],
        )


class LabelBatches:
    """Composed clips, drawn with replacement."""

    def __init__(self, data: Data, recipe: Recipe, network: Any) -> None:
        self.clips, self.recipe = data.parts["train"], recipe
        self.epoch = -(-len(self.clips) // recipe.schedule.batch)

    def __call__(self, step: int) -> LabelBatch:
        """See `Batches`."""
        rng = seeded(self.recipe.seed, step)
        rows = torch.randint(len(self.clips), (self.recipe.schedule.batch,), generator=rng)
        own = shard(rows)
        return LabelBatch(
            self.clips.audio[own].float(), self.clips.visual[own].float(), self.clips.targets[rows].float()
        )


class MatchBatches:
    """Clips whose sound and picture go together; the last, smaller batch of an epoch is one."""

    def __init__(self, data: Data, recipe: Recipe, network: Any) -> None:
        self.pairs, self.recipe = data.parts["train"], recipe
        self.epoch = -(-len(self.pairs.labels) // recipe.schedule.batch)

    def __call__(self, step: int) -> MatchBatch:
        """See `Batches`."""
        pairs = self.pairs
        rows = shuffled(len(pairs.labels), self.recipe, step, self.epoch)
        own = shard(rows)
        labels, videos = pairs.labels[rows], pairs.videos[rows]
        return MatchBatch(pairs.audio[own], pairs.visual[own], labels, videos, pairs.num_classes)


class CropBatches:
    """Crops of untrimmed videos; a last batch that is not full is left out, as published."""

    def __init__(self, data: Data, recipe: Recipe, network: Any) -> None:
        self.samples, self.recipe, self.options = data.parts["train"], recipe, recipe.data_options()
        self.steps = network.config.max_seq_len
        count, batch = len(self.samples), recipe.schedule.batch
        self.epoch = max(1, count // batch)
        self.usable = count - count % batch if count > batch else count

    def __call__(self, step: int) -> DenseBatch:
        """See `Batches`."""
        batch = self.recipe.schedule.batch
        places = torch.arange(step * batch, (step + 1) * batch)
        whole = collate([self.crop(place) for place in places.tolist()], self.steps)
        own = shard(torch.arange(batch))
        return whole._replace(audio=whole.audio[own], visual=whole.visual[own], mask=whole.mask[own])

    def crop(self, place: int) -> Sample:
        """The crop at a place in the run."""
        epoch, position = divmod(place, self.usable)
        order = torch.randperm(len(self.samples), generator=seeded(self.recipe.seed, epoch))
        sample: Sample = self.samples[int(order[position])]
        window = crop(
            len(sample.audio),
            sample.segments,
            longest=self.steps,
            reach=self.options.reach,
            least=self.options.least,
            rng=seeded(self.recipe.seed, place),
        )
        rows = slice(window.first, window.first + window.steps)
        return sample._replace(
            audio=sample.audio[rows],
            visual=sample.visual[rows],
            segments=window.segments,
            labels=sample.labels[window.kept],
        )


BATCHES: dict[str, Callable[[Data, Recipe, Any], Batches[Any]]] = {  # task → the batches of its data
    "clips": ClipBatches,
    "dense": CropBatches,
    "labels": LabelBatches,
    "matching": MatchBatches,
}
