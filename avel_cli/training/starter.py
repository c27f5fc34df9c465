"""Training of `cace-net.starter` and `ccln.starter`: localizers on clips composed from the starter packs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from avel_cli import checkpoint, encoders, hub, recipes
from avel_cli.datasets import starter
from avel_cli.datasets.composed import ComposedClips, Label, Mixture, compose, split_pool
from avel_cli.encoders.grid import Grid
from avel_cli.errors import UsageError
from avel_cli.localizers.cace_net import CACENet, CACENetConfig, CACENetOutput
from avel_cli.localizers.ccln import CCLN, CCLNConfig, CCLNOutput
from avel_cli.training.ccln_losses import CCLNWeights, ccln_loss
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.losses import cace_net_loss
from avel_cli.training.processes import team
from avel_cli.training.seeds import seeded

log = logging.getLogger("avel")
ENCODERS = ("starter-sound", "starter-picture")
SEEDS = {"train": 1, "val": 2, "test": 3}  # of the composition: one fixed set of clips a split
Output = TypeVar("Output", CACENetOutput, CCLNOutput)


@dataclass(frozen=True)
class StarterRecipe:
    """How a localizer is trained on composed clips.

    Attributes:
        labels: the vocabulary, and the classes of the packs behind each label.
        clips: how many are composed of each split.
        mixture: shares of the kinds of clips.
        network: which localizer.
        model: sizes and switches of the network; the feature and class counts are filled in.
        contrastive_weight: of the contrast within a clip, for CACE-Net.
        contrastive_from: part of the run after which that and the enhanced event head begin (published: 1/8).
        ccln: weights of the terms of the loss, for CCLN.
        split: whose sounds and pictures the localizer learns from. Not those that the encoders were trained on: their
            features are surer of themselves than those of anything that comes later.
        threshold: event probability, and `min_score`: event times class probability, that a segment must exceed in
            `avel detect`; chosen on real clips, see the model card.
    """

    name: str
    description: str
    licence: str
    labels: dict[str, Label]
    clips: dict[str, int]
    schedule: Schedule
    network: Literal["cace-net", "ccln"] = "cace-net"
    seed: int = 1
    split: str = "val"
    threshold: float = 0.5
    min_score: float = 0.5
    contrastive_weight: float = 1.0
    contrastive_from: float = 0.125
    ccln: CCLNWeights = field(default_factory=CCLNWeights)
    mixture: Mixture = field(default_factory=Mixture)
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config(128, 128)  # a wrong switch should be said before clips are composed
        if any(count < 1 for count in self.clips.values()):
            raise ValueError("clips must be at least 1 of each split")

    def config(self, audio_dim: int, visual_dim: int) -> CACENetConfig | CCLNConfig:
        """The network's configuration for these encoders and labels."""
        sizes = {"audio_dim": audio_dim, "visual_dim": visual_dim, "num_classes": len(self.labels)}
        if self.network == "ccln":
            return recipes.build(CCLNConfig, {**self.model, **sizes}, "model.")
        return recipes.build(CACENetConfig, {**self.model, **sizes}, "model.")

    def build(self, audio_dim: int, visual_dim: int) -> CACENet | CCLN:
        """The network, with fresh weights."""
        config = self.config(audio_dim, visual_dim)
        return CCLN(config) if isinstance(config, CCLNConfig) else CACENet(config)


def composed(recipe: StarterRecipe, data: Sequence[Path], split: str, cache: Path) -> ComposedClips:
    """The composed clips of a split, from `cache` if they were made before with the same encoders and recipe.

    Raises:
        UsageError: if the recipe has no number of clips for the split.
    """
    if split not in recipe.clips:
        raise UsageError(f'the recipe composes no clips of split "{split}"; set clips.{split}')
    hashes = [checkpoint.sha256(hub.encoder_file(name)) for name in ENCODERS]
    hashes += [starter.manifest_hash(folder) for folder in data]
    labels = {name: asdict(label) for name, label in recipe.labels.items()}
    facts = [asdict(recipe.mixture), labels, recipe.clips[split], SEEDS[split], hashes]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    path = cache / f"composed-{split}-{digest}.pt"
    if path.is_file():
        return ComposedClips(*torch.load(path, weights_only=True))
    sound, picture = (encoders.load(name) for name in ENCODERS)
    pool = split_pool(data, split, recipe.labels, sound.config.sample_rate, picture.config.size * 4 // 3)
    log.info("composing %d clips of split %s", recipe.clips[split], split)
    clips = compose(pool, sound, picture, recipe.clips[split], recipe.mixture, SEEDS[split])
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save((clips.audio, clips.visual, clips.targets), part)
    os.replace(part, path)
    return clips


def train(recipe: StarterRecipe, clips: ComposedClips, out: Path, *, resume: bool = False) -> CACENet | CCLN:
    """Train the localizer on composed clips; returns the moving average of the weights."""
    torch.manual_seed(recipe.seed)
    model = recipe.build(clips.audio.shape[-1], clips.visual.shape[-1])
    device = team().device

    def loss_at(step: int) -> dict[str, Tensor]:
        rng = seeded(recipe.seed, step)
        index = torch.randint(len(clips), (recipe.schedule.batch,), generator=rng)
        audio, visual, targets = (part[index].to(device) for part in (clips.audio, clips.visual, clips.targets))
        return loss_terms(model, recipe, step, audio, visual.float(), targets)

    name = f"{recipe.name}-{model.config.guide}-seed{recipe.seed}"
    average = fit(model, loss_at, recipe.schedule, out, name=name, recipe=asdict(recipe), resume=resume)
    assert isinstance(average, CACENet | CCLN)
    return average


def loss_terms(
    model: CACENet | CCLN, recipe: StarterRecipe, step: int, audio: Tensor, visual: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """The terms of the loss at a step, and `total`; clips that hold no event have no say in what kind of event it is.

    Args:
        model: in training.
        recipe: of the run.
        step: from 0; contrast within a clip begins late.
        audio: `[B, T, D_a]`.
        visual: `[B, T, H, W, D_v]`.
        targets: class indices `[B, T]`, the class count for background.
    """
    if isinstance(model, CCLN):
        return ccln_loss(_float32(model(audio, visual)), targets, recipe.ccln, skip_empty=True)._asdict()
    late = step >= round(recipe.contrastive_from * recipe.schedule.steps)
    output = model(audio, visual, enhance=late)
    weight = recipe.contrastive_weight if late and output.q is not None else 0.0
    return cace_net_loss(_float32(output), targets, weight, skip_empty=True)._asdict()


def _float32(output: Output) -> Output:
    """Losses are computed in full: the contrastive one has a temperature of 0.01, for which bfloat16 will not do."""
    return type(output)(*(part if part is None else part.float() for part in output))  # type: ignore[arg-type]


def save(model: CACENet | CCLN, recipe: StarterRecipe, path: Path, figures: dict[str, Any]) -> None:
    """Write the weights with everything that is needed to use them."""
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": recipe.network,
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(model.config),
        "labels": list(recipe.labels),
        "grid": asdict(Grid()),
        "encoders": list(ENCODERS),
        "threshold": recipe.threshold,
        "min_score": recipe.min_score,
        "recipe": asdict(recipe),
        "figures": figures,
    }
    checkpoint.save(path, model.state_dict(), header)
