"""Training of the two starter encoders as taggers, on the fine classes of the starter packs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from avel_cli import checkpoint, recipes
from avel_cli.datasets import augment, starter
from avel_cli.datasets.starter import BACKGROUND, Recording
from avel_cli.encoders.starter_picture import StarterPicture, StarterPictureConfig
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig
from avel_cli.errors import SetupError, UsageError
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.processes import team
from avel_cli.training.seeds import seeded

log = logging.getLogger("avel")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class EncoderRecipe:
    """How a starter encoder is trained.

    Attributes:
        licences: keep only rows whose licence contains one of these texts; empty keeps all.
        pretrain: schedule on a folder of class folders (pictures only), named by `pretrain_set`.
        pretrain_size: side of the pictures in pixels for the first and the last half of pretraining.
        scenes: picture classes that others are put into.
    """

    width: int
    schedule: Schedule
    licence: str
    seed: int = 1
    label_smoothing: float = 0.1
    licences: tuple[str, ...] = ()
    pretrain: Schedule | None = None
    pretrain_set: str = ""
    pretrain_size: tuple[int, ...] = (48, 64)
    scenes: tuple[str, ...] = (BACKGROUND, "person_scene", "crowd")


def rows_for(data: Sequence[Path], modality: str, recipe: EncoderRecipe, split: str) -> list[Recording]:
    """The rows of one modality and split whose licence the recipe admits."""
    rows = [r for r in starter.read_manifests(data) if r.modality == modality and r.split == split]
    rows = [r for r in rows if not recipe.licences or any(text in r.licence for text in recipe.licences)]
    if not rows:
        raise SetupError(f"no {modality} of split {split} in these packs has a licence that the recipe admits")
    return rows


class ClassBalanced:
    """Draws row indices so that a class's share grows with the square root of its size."""

    def __init__(self, names: Sequence[str]) -> None:
        self.classes = tuple(sorted(set(names)))
        self.targets = torch.tensor([self.classes.index(name) for name in names])
        self.weights = self.targets.bincount().float().rsqrt()[self.targets]

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Indices `[count]`, with replacement."""
        return torch.multinomial(self.weights, count, replacement=True, generator=rng)


def soft_cross_entropy(logits: Tensor, first: Tensor, second: Tensor, share: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of mixed examples: `share` `[N]` of target `first`, the rest of target `second`."""
    losses = [F.cross_entropy(logits.float(), t, reduction="none", label_smoothing=smoothing) for t in (first, second)]
    return (share * losses[0] + (1 - share) * losses[1]).mean()


def train_picture(
    recipe: EncoderRecipe, data: Sequence[Path], out: Path, pretrain_data: Path | None, resume: bool
) -> StarterPicture:
    """Train `starter-picture`, first on the public set of the recipe where it names one, then on the packs."""
    torch.manual_seed(recipe.seed)
    rows = rows_for(data, "image", recipe, "train")
    balanced = ClassBalanced([row.name for row in rows])
    model = StarterPicture(StarterPictureConfig(width=recipe.width, classes=balanced.classes))
    if recipe.pretrain:
        public = _public_pictures(recipe, data, pretrain_data)
        _pretrain(model, recipe, recipe.pretrain, public, out, resume)
    size = model.config.size
    pictures = starter.load_pictures([row.path for row in rows], size * 4 // 3)
    scenes = pictures[torch.tensor([row.name in recipe.scenes for row in rows])]
    log.info("%d pictures of %d classes", len(rows), len(balanced.classes))
    device = team().device

    def loss_at(step: int) -> Tensor:
        rng = seeded(recipe.seed, step)
        index = balanced.draw(recipe.schedule.batch, rng)
        batch = augment.crop(pictures[index], size, rng)
        scene = augment.crop(scenes[torch.randint(len(scenes), (len(index),), generator=rng)], size, rng)
        placed = augment.on_scene(batch, scene, rng, smallest=0.55)
        batch = torch.where(torch.rand(len(batch), 1, 1, 1, generator=rng) < 0.4, placed, batch)
        batch = augment.degrade(augment.colour(batch, rng), rng)
        share = 0.5 + 0.5 * torch.rand(len(batch), generator=rng)
        share = torch.where(torch.rand(len(batch), generator=rng) < 0.4, share, 1.0)
        weight = share.view(-1, 1, 1, 1)
        mixed = batch * weight + batch.roll(1, 0) * (1 - weight)
        target = balanced.targets[index].to(device)
        logits = model.tag(model.maps((mixed * 2 - 1).to(device)))
        return soft_cross_entropy(logits, target, target.roll(1), share.to(device), recipe.label_smoothing)

    return _averaged(
        fit(model, loss_at, recipe.schedule, out, name="starter-picture", recipe=asdict(recipe), resume=resume),
        StarterPicture,
    )


def _public_pictures(recipe: EncoderRecipe, data: Sequence[Path], folder: Path | None) -> list[tuple[Path, str]]:
    """Path and class of the pictures of the public set, without those in a val or test split of the packs."""
    if folder is None:
        raise UsageError(f"this recipe pretrains on {recipe.pretrain_set}: give its folder with --pretrain-data")
    held_out = {Path(r.original_id).stem for r in starter.read_manifests(data) if r.split != "train"}
    return starter.image_folder(folder, held_out)


def _pretrain(
    model: StarterPicture,
    recipe: EncoderRecipe,
    schedule: Schedule,
    public: Sequence[tuple[Path, str]],
    out: Path,
    resume: bool,
) -> None:
    """Train the trunk to name the classes of a public set."""
    names = sorted({name for _, name in public})
    pictures = starter.load_pictures([path for path, _ in public], max(recipe.pretrain_size))
    targets = torch.tensor([names.index(name) for _, name in public])
    count = len(names)
    log.info("pretraining on %d pictures of %d classes", len(public), count)
    head = nn.Linear(model.dim, count)
    both = nn.ModuleList([model.trunk, head])
    device = team().device

    def loss_at(step: int) -> Tensor:
        rng = seeded(recipe.seed + 1, step)
        size = recipe.pretrain_size[step * len(recipe.pretrain_size) // schedule.steps]
        index = torch.randint(len(pictures), (schedule.batch,), generator=rng)
        batch = augment.colour(augment.crop(pictures[index], size, rng), rng, 0.3)
        logits = head(model.maps((batch * 2 - 1).to(device)).mean(dim=(1, 2)))
        return F.cross_entropy(logits.float(), targets[index].to(device), label_smoothing=recipe.label_smoothing)

    average = fit(
        both,
        loss_at,
        schedule,
        out,
        name="starter-picture-pretrain",
        recipe=asdict(schedule),
        resume=resume,
    )
    model.trunk.load_state_dict(average.get_submodule("0").state_dict())


def train_sound(recipe: EncoderRecipe, data: Sequence[Path], out: Path, resume: bool) -> StarterSound:
    """Train `starter-sound` on one-second segments of the packs' sounds."""
    torch.manual_seed(recipe.seed)
    rows = rows_for(data, "sound", recipe, "train")
    balanced = ClassBalanced([row.name for row in rows])
    model = StarterSound(StarterSoundConfig(width=recipe.width, classes=balanced.classes))
    rate = model.config.sample_rate
    waves = starter.load_sounds(rows, rate)
    noises = [wave for wave, row in zip(waves, rows, strict=True) if row.name == BACKGROUND] or waves
    log.info("%d sounds of %d classes", len(rows), len(balanced.classes))
    device = team().device

    def pick(pool: list[Tensor], index: Tensor, rng: Generator) -> Tensor:
        return augment.segments([pool[i] for i in index.tolist()], rate, rng)

    def loss_at(step: int) -> Tensor:
        rng = seeded(recipe.seed, step)
        count = recipe.schedule.batch
        index = balanced.draw(count, rng)
        batch = pick(waves, index, rng)
        # Notes and barks come alone in the packs, in chords and volleys in life: half get a second take.
        again = augment.speed(pick(waves, index, rng), rng).roll(int(torch.randint(rate, (1,), generator=rng)), 1)
        batch = torch.where(
            torch.rand(count, 1, generator=rng) < 0.5, augment.mix(batch, again, torch.zeros(count)), batch
        )
        batch = augment.room_and_microphone(augment.speed(batch, rng), rate, rng)
        noise = pick(noises, torch.randint(len(noises), (count,), generator=rng), rng)
        snr = torch.rand(count, generator=rng) * 30 - 3
        batch = torch.where(torch.rand(count, 1, generator=rng) < 0.6, augment.mix(batch, noise, snr), batch)
        share = 0.5 + 0.5 * torch.rand(count, generator=rng)
        share = torch.where(torch.rand(count, generator=rng) < 0.4, share, 1.0)
        ratio_db = 20 * torch.log10(share / (1 - share).clamp(min=1e-4))
        mixed = augment.mix(batch, batch.roll(1, 0), ratio_db.clamp(max=60))
        mixed = augment.level(mixed, torch.rand(count, generator=rng) * 45 - 60).clamp(-1, 1)
        pictures, levels = model.spectrogram(mixed.to(device))
        embeddings = model.embed(augment.mask_spectrogram(pictures, rng), levels)
        target = balanced.targets[index].to(device)
        return soft_cross_entropy(
            model.tag(embeddings), target, target.roll(1), share.to(device), recipe.label_smoothing
        )

    return _averaged(
        fit(model, loss_at, recipe.schedule, out, name="starter-sound", recipe=asdict(recipe), resume=resume),
        StarterSound,
    )


def _averaged(module: nn.Module, kind: type[M]) -> M:
    assert isinstance(module, kind)
    return module


def train_encoder(
    name: str, recipe: EncoderRecipe, data: Sequence[Path], out: Path, pretrain_data: Path | None, resume: bool
) -> Path:
    """Train the encoder `name` and write its weights to `out`; returns their path."""
    model: StarterSound | StarterPicture
    if name == "starter-sound":
        model = train_sound(recipe, data, out, resume)
    else:
        model = train_picture(recipe, data, out, pretrain_data, resume)
    header = {
        "kind": "encoder",
        "name": name,
        "network": name,
        "licence": recipe.licence,
        "config": asdict(model.config),
        "recipe": recipes.to_dict(recipe),
    }
    path = out / f"{name}.safetensors"
    checkpoint.save(path, model.state_dict(), header)
    return path
