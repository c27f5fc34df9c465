"""Distillation of `starter-sound` from EfficientAT on unlabelled sound.

The teacher hears the same mixtures and answers with 527 probabilities (the student's targets, by binary
cross-entropy) and its features (by cosine, through a linear layer that is thrown away). Hinton et al. 2015; for
AudioSet taggers Schmid et al., ICASSP 2023.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from avel_cli import encoders, published, recipes
from avel_cli.datasets import augment
from avel_cli.datasets.sounds import SoundCorpus
from avel_cli.encoders.efficientat import EfficientAT
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig
from avel_cli.hub import weights_file
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.processes import accelerator
from avel_cli.training.seeds import seeded

log = logging.getLogger("avel")
EVERY = 50  # steps between two checkpoints


@dataclass(frozen=True)
class DistilRecipe:
    """How `starter-sound` is taught.

    Attributes:
        teacher: name of the encoder that is imitated.
        classes: licence classes of the sounds to learn from.
        sources: factors of single sources, see `SoundCorpus`.
        features: weight of the cosine distance to the teacher's features.
        mixed: part of the windows that a second one is mixed into.
    """

    schedule: Schedule
    licence: str
    teacher: str = "efficientat-mn04"
    seed: int = 1
    classes: tuple[str, ...] = ()
    sources: dict[str, float] = field(default_factory=dict)
    features: float = 2.0
    mixed: float = 0.5


class Student(nn.Module):
    """The network that ships, and the layer from its embeddings to the teacher's features."""

    def __init__(self, sound: StarterSound, features: int) -> None:
        super().__init__()
        self.sound, self.projection = sound, nn.Linear(sound.shape[0], features)


def train(
    recipe: DistilRecipe, folders: Sequence[Path], out: Path, *, weights: Mapping[str, Path], resume: bool = False
) -> Path:
    """Teach `starter-sound` and write its weights to `out`; returns their path.

    Args:
        recipe: how.
        folders: of unlabelled sound, see `SoundCorpus`.
        out: folder for weights, checkpoints and tables.
        weights: files of the teacher's weights, by its name; it is fetched where there is none.
        resume: go on from the last checkpoint.
    """
    ready = published.prepare([recipe.teacher, "efficientnet-lite0"], files=weights)
    teacher = encoders.load(recipe.teacher, ready[recipe.teacher])
    sound = distil(recipe, teacher, encoders.load("efficientnet-lite0").state_dict(), folders, out, resume)
    path = out / "starter-sound.safetensors"
    header = {
        "kind": "encoder",
        "name": "starter-sound",
        "network": "starter-sound",
        "licence": recipe.licence,
        "config": asdict(sound.config),
        "recipe": recipes.to_dict(recipe),
    }
    weights_file.save(path, sound.state_dict(), header)
    return path


def distil(
    recipe: DistilRecipe,
    teacher: EfficientAT,
    lite0: dict[str, Tensor],
    folders: Sequence[Path],
    out: Path,
    resume: bool = False,
) -> StarterSound:
    """Teach a new `starter-sound`.

    Args:
        recipe: how.
        teacher: in evaluation mode.
        lite0: state of `EfficientNetLite0`, from whose trunk the student starts.
        folders: of unlabelled sound, see `SoundCorpus`.
        out: folder for checkpoints and the table of the run.
        resume: go on from the last checkpoint.
    """
    torch.manual_seed(recipe.seed)
    corpus = SoundCorpus(folders, recipe.classes, recipe.sources)
    log.info("%.1f hours of sound from %d sources", sum(corpus.sources.values()), len(corpus.sources))
    sound = StarterSound(StarterSoundConfig())
    sound.trunk.load_state_dict(grey(lite0))
    student = Student(sound, teacher.shape[0])
    student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.6 times as fast
    device = accelerator().device
    teacher = teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    every = sound.config.hop // teacher.mel.hop

    def loss_at(step: int) -> dict[str, Tensor]:
        rng = seeded(recipe.seed, step)
        waves = mixtures(corpus, recipe, sound.window, rng).to(device)
        power = teacher.mel.power(waves) * microphone(len(waves), teacher.mel.n_fft // 2 + 1, rng).to(device)
        with torch.no_grad():
            features = teacher.embed(teacher.mel.pictures(power))
            targets = teacher.tag(features).sigmoid()
        pictures = augment.mask_spectrogram(sound.mel.pictures(power[..., ::every]).unsqueeze(1), rng, 8, 12)
        embeddings = sound.embed(pictures[:, 0])
        tags = (
            F.binary_cross_entropy_with_logits(sound.tag(embeddings).float(), targets, reduction="none").sum(1).mean()
        )
        distance = 1 - F.cosine_similarity(student.projection(embeddings).float(), features).mean()
        return {"total": tags + recipe.features * distance, "tags": tags, "features": distance}

    average = fit(
        student,
        loss_at,
        recipe.schedule,
        out,
        name="starter-sound",
        recipe=asdict(recipe),
        data=corpus.digest,
        resume=resume,
        every=EVERY,
    )
    assert isinstance(average, Student)
    return average.sound


def grey(lite0: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trunk of an `efficientnet-lite0` for pictures of one colour: the stem summed over the three."""
    trunk = {name.removeprefix("trunk."): value for name, value in lite0.items() if name.startswith("trunk.")}
    return trunk | {"stem.conv.weight": trunk["stem.conv.weight"].sum(1, keepdim=True)}


def mixtures(corpus: SoundCorpus, recipe: DistilRecipe, samples: int, rng: Generator) -> Tensor:
    """Windows `[batch, samples]` at levels of -40 to -12 dB, some with another one 18 dB below to 6 dB above them."""
    count = recipe.schedule.batch
    waves = corpus.draw(count, samples, rng)
    others = waves.roll(1, 0)
    snr = torch.rand(count, generator=rng) * 24 - 6
    mixed = torch.rand(count, 1, generator=rng) < recipe.mixed
    waves = torch.where(mixed, augment.mix(waves, others, snr), waves)
    return augment.level(waves, torch.rand(count, generator=rng) * 28 - 40).clamp(-1, 1)


def microphone(count: int, bins: int, rng: Generator) -> Tensor:
    """Gains of power `[count, bins, 1]`: for a third a tilt and bumps, for a tenth a low pass."""
    frequencies = torch.linspace(0, 16000, bins)
    octaves = torch.log2(frequencies.clamp(min=60) / 1000)
    tilt = (torch.rand(count, 1, generator=rng) * 6 - 3) * octaves
    bumps = F.interpolate(torch.randn(count, 1, 8, generator=rng) * 3, bins, mode="linear")[:, 0]
    edge = 3000 + 9000 * torch.rand(count, 1, generator=rng)
    narrow = (torch.rand(count, 1, generator=rng) < 0.1) * -24 * torch.log2((frequencies / edge).clamp(min=1))
    coloured = torch.rand(count, 1, generator=rng) < 0.33
    return (10 ** ((coloured * (tilt + bumps) + narrow) / 10)).unsqueeze(2)
