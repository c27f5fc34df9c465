"""One run of one recipe: a localizer is built, trained, chosen and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from avel_cli import localizers
from avel_cli.hub import weights_file
from avel_cli.localizers.base import Localizer
from avel_cli.tasks.base import Data
from avel_cli.training.batches import BATCHES, Ahead
from avel_cli.training.loop import best_file, fit
from avel_cli.training.processes import gather
from avel_cli.training.recipe import Recipe


class Trained(NamedTuple):
    """A localizer on the CPU in evaluation mode, the epoch that it is from, counted from 1, and its score, if any."""

    network: Localizer
    epoch: float
    score: float | None


class Learner(nn.Module):
    """A localizer with what its loss remembers, which belongs to the run as much as the weights do."""

    network: Localizer

    def __init__(self, network: Localizer, weights: Any) -> None:
        super().__init__()
        self.network, self.weights = network, weights
        self.state = network.loss_state(weights)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        """The terms of the loss of a batch. Of several processes each runs the network on its share."""
        like = next(self.network.parameters())
        batch = moved(batch, like)
        output = gathered(self.network.learn(batch), len(batch.labels))
        return self.network.loss(output, batch, self.weights, self.state)


def train(
    recipe: Recipe,
    data: Data,
    out: Path,
    *,
    score: Callable[[Localizer], float] | None = None,
    resume: bool = False,
) -> Trained:
    """Train the recipe's network.

    Args:
        recipe: what to train, and how.
        data: what to learn from.
        out: folder for checkpoints and tables.
        score: of a network after each epoch, higher is better; the first best epoch is returned, else the last.
        resume: go on from the last checkpoint in `out`.

    Raises:
        UsageError: as `loop.fit`; or if the recipe does not fit the data.
    """
    torch.manual_seed(recipe.seed)
    network = build(recipe, data)
    batches = BATCHES[network.task](data, recipe, network)
    schedule, weights = recipe.schedule.in_steps(batches.epoch), recipe.loss_weights()
    reader = Ahead(batches, schedule.steps)
    learner = Learner(network, weights)
    last = 0

    def loss_at(step: int) -> dict[str, Tensor]:
        nonlocal last
        last = step
        network.advance(weights, step, schedule.steps)
        return learner.terms(reader(step))

    def scored(average: nn.Module) -> float:
        assert score is not None
        kept = cast(Learner, average).network
        kept.advance(weights, last, schedule.steps)
        return score(kept)

    name = f"{recipe.name}-seed{recipe.seed}"
    average = fit(
        learner,
        loss_at,
        schedule,
        out,
        name=name,
        recipe=asdict(recipe),
        data=data.digest,
        resume=resume,
        every=schedule.every or batches.epoch,
        score=scored if score else None,
        scored=f"score_{recipe.select}",
    )
    chosen: dict[str, Any] = {"step": schedule.steps, "score": None}
    if score is not None:
        chosen = torch.load(best_file(out, name), weights_only=True, mmap=True)
    kept = cast(Learner, average).network
    kept.advance(weights, chosen["step"] - 1, schedule.steps)
    kept.settle()
    return Trained(kept, chosen["step"] / batches.epoch, chosen["score"])


def build(recipe: Recipe, data: Data) -> Localizer:
    """A fresh network for the data."""
    if data.network is not None:
        return cast(Localizer, data.network(recipe))
    sizes = dict(data.sizes)
    if data.labels:
        sizes["num_classes"] = len(data.labels)
    return localizers.localizer_class(recipe.network)(recipe.config(sizes))


def save(network: Localizer, recipe: Recipe, data: Data, path: Path, figures: Mapping[str, Any]) -> None:
    """Write the weights with everything that is needed to use them."""
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": recipe.network,
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(network.config),
        "labels": list(data.labels),
        "parents": dict(data.parents),
        "grid": asdict(data.grid),
        "encoders": list(data.encoders),
        "threshold": recipe.threshold,
        "min_score": recipe.min_score,
        "recipe": asdict(recipe),
        "selection": recipe.selection,
        "figures": dict(figures),
    }
    if network.task == "dense":
        header["steps"] = network.config.max_seq_len
    weights_file.save(path, network.state_dict(), header, torch.float16 if recipe.half else torch.float32)


def moved(batch: Any, like: Tensor) -> Any:
    """A batch where the network is, its features with the network's precision."""

    def there(part: Any) -> Any:
        if isinstance(part, tuple):  # labels of videos, which are no features
            return tuple(inner.to(like.device) for inner in part)
        if not isinstance(part, Tensor):
            return part
        return part.to(like) if part.is_floating_point() else part.to(like.device)

    return type(batch)(*map(there, batch))


def gathered(part: Any, size: int) -> Any:
    """An output for the whole batch, whatever it consists of, from those of all processes for their shares.

    It is float32 at least: bfloat16 will not do for losses.
    """
    if isinstance(part, Tensor):
        part = part.float() if part.dtype == torch.bfloat16 else part
        return gather(part, size) if part.ndim else part
    if isinstance(part, tuple):
        parts = [gathered(inner, size) for inner in part]
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
    return part
