"""Clips with known answers, composed from the starter packs: real sounds over real pictures on a 10 x 1 s grid.

A clip is planned first (what is heard when, what is seen when), then made second by second, then encoded. An event
is where a label is heard and seen in the same second; everything else is background.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from avel_cli.datasets import augment, starter
from avel_cli.datasets.starter import Recording
from avel_cli.encoders.starter_picture import StarterPicture
from avel_cli.encoders.starter_sound import StarterSound
from avel_cli.errors import SetupError

SEGMENTS = 10
FRAMES = 2  # pictures a second, each its own crop, averaged like the frames of a video


@dataclass(frozen=True)
class Label:
    """The fine classes of the packs that make up one label of the vocabulary."""

    sounds: tuple[str, ...]
    pictures: tuple[str, ...]


class Plan(NamedTuple):
    """One clip: the label heard in `[heard[0], heard[1])` and the one seen in `[seen[0], seen[1])`, whole seconds.

    -1 is nothing of the vocabulary: noise, or a scene.
    """

    sound: int
    heard: tuple[int, int]
    picture: int
    seen: tuple[int, int]

    def target(self, background: int) -> Tensor:
        """Class index of each segment, `[10]`; `background` where nothing is both seen and heard."""
        labels = torch.full((SEGMENTS,), background)
        if self.sound == self.picture >= 0:
            labels[max(self.heard[0], self.seen[0]) : min(self.heard[1], self.seen[1])] = self.sound
        return labels


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of clips; what is left of 1 has neither sound nor picture of the vocabulary."""

    both: float = 0.5
    seen_only: float = 0.1
    heard_only: float = 0.1
    mismatch: float = 0.1


def plan(rng: Generator, labels: int, mixture: Mixture) -> Plan:
    """Draw one clip. A mismatch is seen as one label and heard as another."""
    kind = float(torch.rand(1, generator=rng))
    label = int(torch.randint(labels, (1,), generator=rng))
    other = (label + 1 + int(torch.randint(labels - 1, (1,), generator=rng))) % labels
    edges = (mixture.both, mixture.seen_only, mixture.heard_only, mixture.mismatch)
    pairs = ((label, label), (-1, label), (label, -1), (other, label))
    sound, picture = -1, -1
    for share, pair in zip(edges, pairs, strict=True):
        if 0 <= kind < share:
            sound, picture = pair
        kind -= share
    return Plan(sound, _interval(rng), picture, _interval(rng))


def _interval(rng: Generator) -> tuple[int, int]:
    """The whole clip for half of all draws, else at least two seconds anywhere in it."""
    if torch.rand(1, generator=rng) < 0.5:
        return 0, SEGMENTS
    length = int(torch.randint(2, SEGMENTS, (1,), generator=rng))
    start = int(torch.randint(0, SEGMENTS - length + 1, (1,), generator=rng))
    return start, start + length


class Pool:
    """The sounds and pictures of one split, sorted by label; everything outside the vocabulary is a distractor."""

    def __init__(self, rows: Sequence[Recording], labels: Mapping[str, Label], sample_rate: int, size: int) -> None:
        sounds = [row for row in rows if row.modality == "sound"]
        images = [row for row in rows if row.modality == "image"]
        for name, label in labels.items():
            for kind, found, wanted in (("sound", sounds, label.sounds), ("picture", images, label.pictures)):
                if not any(row.name in wanted for row in found):
                    raise SetupError(f'no {kind} of label "{name}" in this split of the packs')
        self.waves = starter.load_sounds(sounds, sample_rate)
        self.pictures = starter.load_pictures([row.path for row in images], size)
        self.sample_rate = sample_rate
        named_sounds = [set(label.sounds) for label in labels.values()]
        named_pictures = [set(label.pictures) for label in labels.values()]
        self.sounds = [_indices(sounds, names) for names in named_sounds]
        self.images = [_indices(images, names) for names in named_pictures]
        self.noises = _indices(sounds, {row.name for row in sounds} - set().union(*named_sounds))
        if not self.noises:
            raise SetupError("no sound outside the vocabulary in this split of the packs")
        self.scenes = _indices(images, {row.name for row in images} - set().union(*named_pictures))

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


def sound_track(plan: Plan, pool: Pool, rng: Generator) -> Tensor:
    """Waves `[10, sample_rate]`, one row a second: noise throughout, the label's sound over it while it is heard."""
    rate = pool.sample_rate
    noise = augment.segments([pool.waves[choose(pool.sound(-1), rng)]] * SEGMENTS, rate, rng, audible_db=40)
    noise = augment.level(noise, torch.full((SEGMENTS,), -30.0)) * (torch.rand(1, generator=rng) < 0.85)
    begin, end = plan.heard
    index = choose(pool.sound(plan.sound), rng)
    voice = torch.zeros(SEGMENTS, rate)
    voice[begin:end] = augment.segments([pool.waves[index]] * (end - begin), rate, rng)
    voice = augment.level(voice, torch.full((SEGMENTS,), -30.0) + torch.randn(SEGMENTS, generator=rng) * 2)
    voice[begin, : int(torch.randint(0, rate // 2, (1,), generator=rng))] = 0  # onsets do not keep to the grid
    snr = torch.rand(1, generator=rng) * 30 - 2
    return recorded(voice + noise * 10 ** (-snr / 20), rate, rng)


def recorded(waves: Tensor, sample_rate: int, rng: Generator) -> Tensor:
    """Waves `[N, samples]` that follow each other as one microphone hears them in one room, at any level."""
    track = augment.room_and_microphone(waves, sample_rate, rng, together=True)
    gain = torch.rand(1, generator=rng) * 40 - 55
    return (track / track.pow(2).mean().sqrt().clamp(min=1e-5) * 10 ** (gain / 20)).clamp(-1, 1)


def picture_track(plan: Plan, pool: Pool, size: int, rng: Generator) -> Tensor:
    """Pictures `[10 * FRAMES, 3, size, size]` in 0..1: shots with a moving crop, cut where the label comes and goes."""
    begin, end = plan.seen
    cuts = sorted({0, begin, end, SEGMENTS} | {int(torch.randint(1, SEGMENTS, (1,), generator=rng))})
    shots = []
    for first, last in itertools.pairwise(cuts):
        shown = plan.picture if begin <= first < end else -1
        picture = pool.pictures[choose(pool.picture(shown), rng)]
        scene = pool.pictures[choose(pool.picture(-1), rng)]
        shots.append(shot(still(picture, scene, size * 5 // 4, rng), (last - first) * FRAMES, size, rng))
    return torch.cat(shots)


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


class ComposedClips(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Encoded clips: audio `[10, D_a]`, visual `[10, H, W, D_v]`, targets `[10]`: the class, or the class count."""

    def __init__(self, audio: Tensor, visual: Tensor, targets: Tensor) -> None:
        self.audio, self.visual, self.targets = audio, visual, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.audio[index], self.visual[index].float(), self.targets[index]


@torch.inference_mode()
def compose(
    pool: Pool, sound: StarterSound, picture: StarterPicture, count: int, mixture: Mixture, seed: int
) -> ComposedClips:
    """Compose and encode `count` clips; the same seed gives the same clips. Visual features are kept as float16."""
    labels = len(pool.sounds)
    audio, visual, targets = [], [], []
    for index in range(count):
        rng = torch.Generator().manual_seed(seed * 10_000_000 + index)
        clip = plan(rng, labels, mixture)
        waves = sound_track(clip, pool, rng)
        frames = picture_track(clip, pool, picture.config.size, rng)
        with torch.autocast("cpu", torch.bfloat16):
            maps = picture.maps(frames * 2 - 1)
            audio.append(sound(waves).float())
        visual.append(maps.float().view(SEGMENTS, FRAMES, *maps.shape[1:]).mean(1).half())
        targets.append(clip.target(labels))
    return ComposedClips(torch.stack(audio), torch.stack(visual), torch.stack(targets))


def split_pool(folders: Sequence[Path], split: str, labels: Mapping[str, Label], sample_rate: int, size: int) -> Pool:
    """The pool of one split of the packs; groups never cross splits, so neither do clips."""
    rows = [row for row in starter.read_manifests(folders) if row.split == split]
    return Pool(rows, labels, sample_rate, size)
