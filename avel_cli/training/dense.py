"""Training of dense localizers, UnAV and LoCo, on composed sequences and on UnAV-100's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avel_cli import localizers, recipes
from avel_cli.datasets.composed import Label
from avel_cli.datasets.composed_dense import Composition
from avel_cli.datasets.dense import Batch, Sample, collate, crop
from avel_cli.hub import weights_file
from avel_cli.localizers.dense.blocks import Correspondence, DenseConfig, DenseOutput
from avel_cli.localizers.dense.loss import LCC_WEIGHT, LossNormaliser, Overlap, assign_labels, dense_loss
from avel_cli.localizers.tagged.loco import TaggedLoCoConfig
from avel_cli.localizers.tagged.tags import TagsConfig
from avel_cli.timeline.grid import Grid
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.processes import share, whole
from avel_cli.training.seeds import seeded


@dataclass(frozen=True)
class DenseRecipe:
    """How a dense localizer is trained.

    Attributes:
        network: which one.
        model: its sizes and switches; feature widths, classes and `max_seq_len` are filled in.
        steps: grid steps that it sees at once; what is longer is cropped in training and cut into windows later.
        reach: steps by which events may stick out of a crop.
        least: crops have at least this share of what `steps` allows.
        every: steps between two looks at the validation data; 0 looks once an epoch.
        normaliser: of the losses, at the start.
        overlap: regression term.
        lcc_weight: of the correspondence term.
        threshold: score, 0..1, that proposals must exceed, and `min_score`: that events must have in `avel detect`.
        composition: what sequences are composed of, where the recipe is for such.
        labels: the vocabulary of the composition.
    """

    name: str
    description: str
    licence: str
    network: Literal["loco", "tagged-loco", "unav"]
    schedule: Schedule
    steps: int
    every: int
    seed: int = 1
    reach: float = 0.0
    least: float = 0.9
    normaliser: float = 250.0
    overlap: Overlap = "diou"
    lcc_weight: float = LCC_WEIGHT
    threshold: float = 0.001
    min_score: float = 0.0
    model: dict[str, Any] = field(default_factory=dict)
    composition: Composition | None = None
    labels: dict[str, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.composition is not None:
            object.__setattr__(self, "composition", replace(self.composition, labels=self.labels))
        if self.network == "tagged-loco":  # a wrong switch should be said before data is read
            self.tagged(TagsConfig(1, 1, ((0,),), ((0,),), ((),)), ())
        else:
            self.config(2, 2, 1)

    def tagged(self, tags: TagsConfig, known: tuple[int, ...]) -> TaggedLoCoConfig:
        """The configuration of a network on these tags, with something to learn of the `known` labels."""
        return TaggedLoCoConfig(tags, known, self.steps, self.model)

    def config(self, audio_dim: int, visual_dim: int, num_classes: int) -> DenseConfig:
        """The configuration of the network for such features and so many classes."""
        sizes = {
            "audio_dim": audio_dim,
            "visual_dim": visual_dim,
            "num_classes": num_classes,
            "max_seq_len": self.steps,
        }
        kind = localizers.localizer_class(self.network)
        config: DenseConfig = recipes.build(getattr(kind, "Config"), {**self.model, **sizes}, "model.")  # noqa: B009
        return config


class Crops(Dataset[Sample]):
    """Training crops by their place in the run: each epoch goes through all samples in an order of its own.

    Place and seed alone decide what a crop is, so that it is the same in a resumed run and in any worker process.

    Attributes:
        epoch: batches of an epoch; the last one is left out if it is not full.
    """

    def __init__(self, samples: Dataset[Sample], recipe: DenseRecipe) -> None:
        self.samples, self.recipe = samples, recipe
        count, batch = len(samples), recipe.schedule.batch  # type: ignore[arg-type]
        self.epoch = max(1, count // batch)
        self.usable = count - count % batch if count > batch else count

    def __getitem__(self, place: int) -> Sample:
        """One crop."""
        recipe = self.recipe
        epoch, position = divmod(place, self.usable)
        order = torch.randperm(len(self.samples), generator=seeded(recipe.seed, epoch))  # type: ignore[arg-type]
        sample = self.samples[int(order[position])]
        window = crop(
            len(sample.audio),
            sample.segments,
            longest=recipe.steps,
            reach=recipe.reach,
            least=recipe.least,
            rng=seeded(recipe.seed, place),
        )
        rows = slice(window.first, window.first + window.steps)
        return sample._replace(
            audio=sample.audio[rows],
            visual=sample.visual[rows],
            segments=window.segments,
            labels=sample.labels[window.kept],
        )


class Learner(nn.Module):
    """A network with the state of its loss, which belongs to the run as much as the weights do."""

    def __init__(self, network: nn.Module, recipe: DenseRecipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.normaliser = LossNormaliser(recipe.normaliser)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss of a batch. Of several processes each runs the network on its share."""
        like = self.normaliser.value  # device and precision of the run
        own = share(torch.arange(len(batch.names)))
        output: DenseOutput = self.network(
            batch.audio[own].to(like), batch.visual[own].to(like), batch.mask[own].to(like.device)
        )
        output = DenseOutput(*(_whole(part, len(batch.names)) for part in output))
        segments, labels = ([part.to(like.device) for part in parts] for parts in (batch.segments, batch.labels))
        lengths = [logits.shape[1] for logits in output.logits]
        targets = assign_labels(segments, labels, lengths, output.logits[0].shape[2])
        recipe = self.recipe
        return dense_loss(output, targets, self.normaliser, overlap=recipe.overlap, lcc_weight=recipe.lcc_weight)


def _whole(part: Any, size: int) -> Any:
    """An output of the network for the whole batch, whatever it consists of, from those of all processes."""
    if isinstance(part, Tensor) and part.ndim:
        return whole(part, size)
    if isinstance(part, Correspondence):
        return Correspondence(*(_whole(inner, size) for inner in part))
    return tuple(_whole(inner, size) for inner in part) if isinstance(part, tuple) else part


def train(
    recipe: DenseRecipe,
    samples: Dataset[Sample],
    num_classes: int,
    out: Path,
    *,
    network: nn.Module | None = None,
    score: Callable[[nn.Module], float] | None = None,
    resume: bool = False,
    workers: int = 0,
) -> nn.Module:
    """Train the recipe's network; returns the moving average of the weights, the best one if there is a `score`.

    Args:
        recipe: what to train, and how.
        samples: whole videos.
        num_classes: classes of their labels.
        out: folder for checkpoints and logs.
        network: what to train; None makes a new one.
        score: of a network in evaluation mode on validation data, higher is better.
        resume: go on from the last checkpoint in `out`.
        workers: processes that read and crop.
    """
    torch.manual_seed(recipe.seed)
    first = samples[0]
    if network is None:
        kind = localizers.localizer_class(recipe.network)
        network = kind(recipe.config(first.audio.shape[1], first.visual.shape[1], num_classes))
    learner = Learner(network, recipe)
    crops = Crops(samples, recipe)
    schedule = recipe.schedule.in_steps(crops.epoch)
    batches: Iterator[Batch] | None = None

    def loss_at(step: int) -> dict[str, Tensor]:
        nonlocal batches
        if batches is None:  # a resumed run begins in the middle
            batches = _batches(crops, schedule, step, workers)
        terms: dict[str, Tensor] = learner(next(batches))
        return terms

    average = fit(
        learner,
        loss_at,
        schedule,
        out,
        name=f"{recipe.name}-seed{recipe.seed}",
        recipe=asdict(recipe),
        resume=resume,
        every=recipe.every or crops.epoch,
        score=None if score is None else lambda average: score(average.get_submodule("network")),
    )
    return average.get_submodule("network")


def _batches(crops: Crops, schedule: Schedule, first: int, workers: int) -> Iterator[Batch]:
    places = range(first * schedule.batch, schedule.steps * schedule.batch)
    pad = partial(collate, steps=crops.recipe.steps)
    return iter(DataLoader(crops, schedule.batch, sampler=places, collate_fn=pad, num_workers=workers))


def save(
    network: nn.Module,
    recipe: DenseRecipe,
    path: Path,
    figures: dict[str, Any],
    *,
    labels: list[str],
    grid: Grid,
    encoders: tuple[str, ...],
    dtype: torch.dtype | None = None,
) -> None:
    """Write the weights with everything that is needed to use them; as float16 unless there is a `dtype`."""
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": recipe.network,
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(network.config),  # type: ignore[call-overload]
        "labels": labels,
        "parents": {name: label.parent for name, label in recipe.labels.items() if label.parent},
        "grid": asdict(grid),
        "encoders": list(encoders),
        "steps": recipe.steps,
        "threshold": recipe.threshold,
        "min_score": recipe.min_score,
        "recipe": asdict(recipe),
        "figures": figures,
    }
    weights_file.save(path, network.state_dict(), header, dtype)
