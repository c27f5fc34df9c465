"""Training of `cace-net.starter` and `ccln.starter`: tagged localizers on clips composed from the starter packs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avel_cli import encoders, published
from avel_cli.datasets import starter
from avel_cli.datasets.composed import Label, Mixture, Pool, split_rows
from avel_cli.datasets.composed_clips import ComposedClips, answers, heard, seen
from avel_cli.encoders.efficientat import RATE
from avel_cli.errors import UsageError
from avel_cli.hub import registry, weights_file
from avel_cli.localizers.cace_net.loss import cace_net_loss
from avel_cli.localizers.cace_net.network import CACENetOutput
from avel_cli.localizers.ccln.loss import CCLNWeights, ccln_loss
from avel_cli.localizers.ccln.network import CCLNOutput
from avel_cli.localizers.tagged.network import Tagged, TaggedConfig
from avel_cli.localizers.tagged.tags import TagsConfig
from avel_cli.timeline.grid import Grid
from avel_cli.training import tags
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.processes import team
from avel_cli.training.seeds import seeded

log = logging.getLogger("avel")
PICTURES = 256  # side of the pictures that frames are cut from


@dataclass(frozen=True)
class StarterRecipe:
    """How a tagged localizer is trained on composed clips.

    Attributes:
        labels: the vocabulary.
        clips: how many are composed of each split of the packs.
        mixture: shares of the kinds of things in clips.
        licences: patterns of the licences whose rows of the packs may be used; empty takes all.
        network: which localizer.
        encoders: of sound and of pictures.
        model: sizes and switches of the network; the feature and class counts are filled in.
        contrastive_weight: of the contrast within a clip, for CACE-Net.
        ccln: weights of the terms of the loss, for CCLN.
        split: whose sounds and pictures the localizer learns from.
        min_score: what a segment must score in `avel detect`; chosen on real clips, see the model card.
    """

    name: str
    description: str
    licence: str
    labels: dict[str, Label]
    clips: dict[str, int]
    schedule: Schedule
    network: Literal["cace-net", "ccln"] = "cace-net"
    encoders: tuple[str, ...] = ("starter-sound", "efficientnet-lite0")
    seed: int = 1
    split: str = "train"
    min_score: float = 0.35
    licences: tuple[str, ...] = ()
    contrastive_weight: float = 0.1
    ccln: CCLNWeights = field(default_factory=CCLNWeights)
    mixture: Mixture = field(default_factory=Mixture)
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lone = TagsConfig(1, 1, ((0,),), ((0,),), ((),))
        TaggedConfig(self.network, lone, self.model)  # a wrong switch should be said before clips are composed
        if any(count < 1 for count in self.clips.values()):
            raise ValueError("clips must be at least 1 of each split")
        if unknown := {label.parent for label in self.labels.values()} - self.labels.keys() - {""}:
            raise ValueError(f"parent {min(unknown)!r} is no label")

    @property
    def parents(self) -> dict[str, str]:
        """The more general label of each label that has one."""
        return {name: label.parent for name, label in self.labels.items() if label.parent}


def composed(recipe: StarterRecipe, data: Sequence[Path], split: str, folder: Path) -> ComposedClips:
    """The composed clips of a split, from `folder` if they were made before with the same encoders and recipe.

    Raises:
        UsageError: if the recipe has no number of clips for the split.
    """
    if split not in recipe.clips:
        raise UsageError(f'the recipe composes no clips of split "{split}"; set clips.{split}')
    names = [f"clip-{split}-{index:05d}" for index in range(recipe.clips[split])]
    labels = {name: (label.pictures, label.recordings) for name, label in recipe.labels.items()}
    facts = [asdict(recipe.mixture), labels, recipe.licences, names[-1], *map(starter.manifest_hash, data)]

    @cache
    def pool() -> Pool:
        log.info("composing %d clips of split %s", len(names), split)
        return Pool(split_rows(data, split, recipe.licences), recipe.labels, RATE, PICTURES)

    def kept(part: str, made_by: str, make: Callable[[], Tensor]) -> Tensor:
        made_by = made_by and weights_file.sha256(registry.encoder_file(made_by))
        digest = hashlib.sha256(json.dumps([*facts, made_by]).encode()).hexdigest()[:12]
        path = folder / f"composed-{split}-{part}-{digest}.pt"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(make(), working := path.with_suffix(".part"))
            os.replace(working, path)
        made: Tensor = torch.load(path, weights_only=True)
        return made

    sound, picture = recipe.encoders
    return ComposedClips(
        kept("heard", sound, lambda: heard(pool(), encoders.load(sound), names, recipe.mixture)),
        kept("seen", picture, lambda: seen(pool(), encoders.load(picture), names, recipe.mixture)),
        kept("targets", "", lambda: answers(pool(), names, recipe.mixture)),
    )


def build(recipe: StarterRecipe, data: Sequence[Path], cache: Path) -> Tagged:
    """The network with the tags of the encoders; its own weights are fresh, and so it says what the tags say."""
    torch.manual_seed(recipe.seed)
    ready = published.prepare(recipe.encoders)
    sound, picture = (encoders.load(name, ready[name]) for name in recipe.encoders)
    heads = tags.build(recipe.labels, data, recipe.licences, sound, picture, cache)
    model = Tagged(TaggedConfig(recipe.network, heads.config, recipe.model))
    model.tags.load_state_dict(heads.state_dict())
    model.tags.adopt(sound, picture)
    return model


def train(recipe: StarterRecipe, model: Tagged, clips: ComposedClips, out: Path, *, resume: bool = False) -> Tagged:
    """Train the localizer on composed clips; returns the moving average of the weights.

    Labels that no clip holds are left to the tags: there is nothing to learn about them.
    """
    torch.manual_seed(recipe.seed)
    device = team().device
    known = clips.targets.flatten(0, 1).bool().any(0).to(device)

    def loss_at(step: int) -> dict[str, Tensor]:
        rng = seeded(recipe.seed, step)
        index = torch.randint(len(clips), (recipe.schedule.batch,), generator=rng)
        audio, visual, targets = (part[index].to(device).float() for part in (clips.audio, clips.visual, clips.targets))
        output = model(audio, visual)
        labels = F.binary_cross_entropy_with_logits(output.label_logits[..., known], targets[..., known])
        own = own_loss(output.own, targets, recipe)
        return {"total": labels + own, "labels": labels, "own": own}

    name = f"{recipe.name}-{recipe.network}-seed{recipe.seed}"
    average = fit(model, loss_at, recipe.schedule, out, name=name, recipe=asdict(recipe), resume=resume)
    assert isinstance(average, Tagged)
    with torch.no_grad():
        average.gain[~known.cpu()] = 0.0
    return average


def own_loss(output: CACENetOutput | CCLNOutput, targets: Tensor, recipe: StarterRecipe) -> Tensor:
    """The published loss of the network, whose segments have one category: of several events the first counts."""
    background = targets.shape[-1]
    classes = torch.where(targets.any(-1), targets.argmax(-1), background)
    parts = type(output)(*(part if part is None else part.float() for part in output))  # type: ignore[arg-type]
    if isinstance(parts, CCLNOutput):
        return ccln_loss(parts, classes, recipe.ccln, skip_empty=True).total
    weight = recipe.contrastive_weight if parts.q is not None else 0.0
    return cace_net_loss(parts, classes, weight, skip_empty=True).total


def save(model: Tagged, recipe: StarterRecipe, path: Path, figures: dict[str, Any]) -> None:
    """Write the weights with everything that is needed to use them."""
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": "tagged",
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(model.config),
        "labels": list(recipe.labels),
        "parents": recipe.parents,
        "grid": asdict(Grid()),
        "encoders": list(recipe.encoders),
        "threshold": recipe.min_score,
        "min_score": recipe.min_score,
        "recipe": asdict(recipe),
        "figures": figures,
    }
    weights_file.save(path, model.state_dict(), header)
