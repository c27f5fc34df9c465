"""What clips and sequences are composed of: the sounds and pictures of the packs by label, a microphone, a camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Generator, Tensor

from avel_cli.datasets import augment, starter
from avel_cli.datasets.starter import Recording
from avel_cli.errors import SetupError


@dataclass(frozen=True)
class Label:
    """One label of the vocabulary.

    Attributes:
        sounds: AudioSet classes that it is heard as.
        scenes: ImageNet classes that it is seen as.
        pictures: classes of the packs that the picture head learns for it, and that clips show.
        recordings: classes of the packs that clips let hear. A label without pictures or recordings is in no clip.
        parent: a more general label, said where this one is not sure enough.
    """

    sounds: tuple[str, ...]
    scenes: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    parent: str = ""


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of clips; what is left of 1 has neither sound nor picture of the vocabulary."""

    both: float = 0.5
    seen_only: float = 0.1
    heard_only: float = 0.1
    mismatch: float = 0.1


class Pool:
    """The sounds and pictures of one split, sorted by label; everything outside the vocabulary is a distractor.

    Attributes:
        labels: indices of the labels that there are both sounds and pictures of.
    """

    def __init__(self, rows: Sequence[Recording], labels: Mapping[str, Label], sample_rate: int, size: int) -> None:
        sounds = [row for row in rows if row.modality == "sound"]
        images = [row for row in rows if row.modality == "image"]
        named_sounds = [set(label.recordings) for label in labels.values()]
        named_pictures = [set(label.pictures) for label in labels.values()]
        self.sounds = [_indices(sounds, names) for names in named_sounds]
        self.images = [_indices(images, names) for names in named_pictures]
        self.labels = [
            k for k, (heard, seen) in enumerate(zip(self.sounds, self.images, strict=True)) if heard and seen
        ]
        self.noises = _indices(sounds, {row.name for row in sounds} - set().union(*named_sounds))
        self.scenes = _indices(images, {row.name for row in images} - set().union(*named_pictures))
        if len(self.labels) < 2 or not self.noises or not self.scenes:
            raise SetupError("these rows have too few sounds and pictures of the vocabulary, or none outside of it")
        self.waves = starter.load_sounds(sounds, sample_rate)
        self.pictures = starter.load_pictures([row.path for row in images], size)
        self.sample_rate = sample_rate

    def sound(self, label: int) -> list[int]:
        """Indices of the sounds of a label; distractors for -1."""
        return self.noises if label < 0 else self.sounds[label]

    def picture(self, label: int) -> list[int]:
        """Indices of the pictures of a label; distractors for -1."""
        return self.scenes if label < 0 else self.images[label]


def _indices(rows: Sequence[Recording], names: set[str]) -> list[int]:
    return [index for index, row in enumerate(rows) if row.name in names]


def choose(pool: Sequence[int], rng: Generator) -> int:
    """Any one of the pool."""
    return pool[int(torch.randint(len(pool), (1,), generator=rng))]


def recorded(waves: Tensor, sample_rate: int, rng: Generator) -> Tensor:
    """Waves `[N, samples]` that follow each other as one microphone hears them in one room, at any level."""
    track = augment.room_and_microphone(waves, sample_rate, rng, together=True)
    gain = torch.rand(1, generator=rng) * 40 - 55
    return (track / track.pow(2).mean().sqrt().clamp(min=1e-5) * 10 ** (gain / 20)).clamp(-1, 1)


def still(picture: Tensor, scene: Tensor, size: int, rng: Generator) -> Tensor:
    """What is in front of the camera, float `[1, 3, size, size]`: a picture, now and then within a scene."""
    wide = augment.crop(picture.unsqueeze(0), size, rng, (0.5, 1.0))
    if torch.rand(1, generator=rng) < 0.4:
        wide = augment.on_scene(wide, augment.crop(scene.unsqueeze(0), size, rng), rng)
    return augment.colour(wide, rng)


def shot(wide: Tensor, frames: int, size: int, rng: Generator) -> Tensor:
    """`[frames, 3, size, size]` of a still `[1, 3, H, W]`, larger than `size`, by a camera that moves a little.

    One compression for all of it.
    """
    slack = wide.shape[-1] - size
    path = torch.rand(2, 2, generator=rng) * slack
    steps = torch.linspace(0, 1, frames).unsqueeze(1)
    corners = (path[0] * (1 - steps) + path[1] * steps).long().tolist()
    frames_seen = torch.stack([wide[0, :, y : y + size, x : x + size] for y, x in corners])
    return augment.degrade(frames_seen, rng, together=True)


def split_rows(folders: Sequence[Path], split: str, licences: Sequence[str]) -> list[Recording]:
    """The rows of one split of the packs whose licence fits one of the patterns, or all where there is no pattern.

    Groups never cross splits, so neither do clips.
    """
    rows = [row for row in starter.read_manifests(folders) if row.split == split]
    return [row for row in rows if not licences or any(fnmatchcase(row.licence, pattern) for pattern in licences)]
