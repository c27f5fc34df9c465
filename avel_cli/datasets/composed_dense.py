"""Untrimmed sequences with known events, composed from the starter packs; an event is where a label is heard and seen.

A sequence is planned first (what is heard when, what is seen when; several things at once), then made, then encoded
to features four times a second.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from avel_cli import encoders
from avel_cli.datasets import augment, starter
from avel_cli.datasets.composed import Label, Mixture, Pool, choose, recorded, shot, split_rows, still
from avel_cli.datasets.dense import Sample
from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0Dense
from avel_cli.encoders.starter_sound import StarterSoundDense
from avel_cli.hub import registry, weights_file
from avel_cli.timeline.proposals import to_steps

log = logging.getLogger("avel")
PARTS = ("train", "val", "test")
ENCODERS = ("starter-sound-dense", "efficientnet-lite0-dense")
DURATIONS = (20.0, 120.0)  # of sequences, in seconds
LENGTHS = (0.4, 30.0)  # of what is heard or seen
CUT = 8.0  # seconds between two cuts of the camera, on average
ROW = 10  # seconds of sound that get their echo together: one long transform would take three times as long
AT_ONCE = 2  # labels that can be seen together


class Span(NamedTuple):
    """A label heard or seen in `[start, end)`, in seconds; -1 is a sound outside the vocabulary."""

    label: int
    start: float
    end: float

    def overlaps(self, other: Span) -> bool:
        """Whether they share a moment."""
        return self.start < other.end and other.start < self.end


class Plan(NamedTuple):
    """One sequence: its seconds, and what is heard and seen in it. Spans of one label may overlap."""

    duration: float
    heard: tuple[Span, ...]
    seen: tuple[Span, ...]

    def events(self) -> list[Span]:
        """Where a label is both heard and seen, by label and time.

        What is apart by less than a quarter of a second is one event; what is shorter than 0.4 s is none.
        """
        both = sorted(
            Span(a.label, max(a.start, b.start), min(a.end, b.end))
            for a, b in itertools.product(self.heard, self.seen)
            if a.label == b.label and a.overlaps(b)
        )
        merged: list[Span] = []
        for span in both:
            if merged and merged[-1].label == span.label and span.start - merged[-1].end < 0.25:
                merged[-1] = merged[-1]._replace(end=max(merged[-1].end, span.end))
            else:
                merged.append(span)
        return [span for span in merged if span.end - span.start >= LENGTHS[0]]


def _uniform(low: float, high: float, rng: Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=rng))


def _log_uniform(low: float, high: float, rng: Generator) -> float:
    return math.exp(_uniform(math.log(low), math.log(high), rng))


def plan(rng: Generator, labels: Sequence[int], mixture: Mixture, durations: tuple[float, ...] = DURATIONS) -> Plan:
    """Draw one sequence: one to three labels, and up to one thing every four seconds that is heard, seen or both.

    Args:
        rng: what is drawn from.
        labels: those that there are sounds and pictures of, at least two.
        mixture: how things are heard and seen.
        durations: shortest and longest sequence in seconds.
    """
    duration = round(_log_uniform(durations[0], durations[1], rng) * 4) / 4
    order = torch.randperm(len(labels), generator=rng)[: int(torch.randint(1, 4, (1,), generator=rng))]
    subjects = [labels[place] for place in order.tolist()]
    heard: list[Span] = []
    seen: list[Span] = []
    for _ in range(2 + int(_uniform(0, duration / 4, rng))):
        sound, sight = _thing(choose(subjects, rng), duration, labels, mixture, rng)
        if sight and sum(sight.overlaps(other) for other in seen) >= AT_ONCE:
            continue
        heard += [sound] if sound else []
        seen += [sight] if sight else []
    return Plan(duration, tuple(heard), tuple(seen))


def _thing(
    label: int, duration: float, labels: Sequence[int], mixture: Mixture, rng: Generator
) -> tuple[Span | None, Span | None]:
    """How one thing is heard and seen. A mismatch is seen as `label` and heard as another; the rest is out of all."""
    length = min(_log_uniform(*LENGTHS, rng), duration)
    start = _uniform(0, duration - length, rng)
    sound = _longer(Span(label, start, start + length), duration, rng)
    sight = _longer(Span(label, start, start + length), duration, rng)
    sight = Span(label, math.floor(sight.start * 4) / 4, math.ceil(sight.end * 4) / 4)  # frames come four a second
    other = choose([one for one in labels if one != label], rng)
    edges = (mixture.both, mixture.seen_only, mixture.heard_only, mixture.mismatch)
    pairs = ((sound, sight), (None, sight), (sound, None), (sound._replace(label=other), sight))
    kind = float(torch.rand(1, generator=rng))
    for share, pair in zip(edges, pairs, strict=True):
        if kind < share:
            return pair
        kind -= share
    return sound._replace(label=-1), None


def _longer(span: Span, duration: float, rng: Generator) -> Span:
    """Half of all spans reach further on either side, by up to their length and 6 s."""
    reach = min(span.end - span.start, 6.0)
    before, after = (reach * max(0.0, _uniform(-1, 1, rng)) for _ in range(2))
    return Span(span.label, max(0.0, span.start - before), min(duration, span.end + after))


def sound_track(plan: Plan, pool: Pool, rng: Generator) -> Tensor:
    """Wave `[samples]` of the sequence: noise throughout, and over it all that is heard."""
    rate = pool.sample_rate

    def voice(label: int, samples: int, decibels: float) -> Tensor:
        wave = augment.sustained(pool.waves[choose(pool.sound(label), rng)], samples, rate, rng)
        return augment.level(wave.unsqueeze(0), torch.tensor([decibels]))[0]

    under = _uniform(-2, 28, rng) if _uniform(0, 1, rng) < 0.85 else 90.0
    track = voice(-1, round(plan.duration * rate), -30 - under)
    for span in plan.heard:
        begin, end = round(span.start * rate), round(span.end * rate)
        track[begin:end] += voice(span.label, end - begin, _uniform(-35, -27, rng))
    rows = F.pad(track, (0, -len(track) % (ROW * rate))).view(-1, ROW * rate)
    return recorded(rows, rate, rng).flatten()[: len(track)]


def picture_track(plan: Plan, pool: Pool, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """Distinct pictures `[M, 3, size, size]` in 0..1, and which one is shown in each quarter of a second, `[4 * s]`.

    Shots with a moving crop, cut where something comes or goes and now and then in between. A thing looks the same
    whenever it is seen; two things share the frame; where there is none, a scene. Half a second shows one picture.
    """
    ticks = round(plan.duration * 4)
    edges = {round(edge * 4) for span in plan.seen for edge in (span.start, span.end)}
    chance = torch.randint(1, ticks, (int(plan.duration / CUT),), generator=rng).tolist()
    looks = [pool.pictures[choose(pool.picture(span.label), rng)] for span in plan.seen]
    shots, shown, count = [], [], 0
    for first, last in itertools.pairwise(sorted({0, ticks} | edges | set(chance))):
        here = Span(-1, first / 4, last / 4)
        things = {span.label: look for span, look in zip(plan.seen, looks, strict=True) if span.overlaps(here)}
        if not things:
            things = {-1: pool.pictures[choose(pool.scenes, rng)]}
        scenes = [pool.pictures[choose(pool.scenes, rng)] for _ in things]
        stills = [still(look, scene, size * 5 // 4, rng) for look, scene in zip(things.values(), scenes, strict=True)]
        frames = (last - first + 1) // 2
        shots.append(shot(_beside(stills, rng), frames, size, rng))
        shown.append(count + torch.arange(last - first) // 2)
        count += frames
    return torch.cat(shots), torch.cat(shown)


def _beside(stills: Sequence[Tensor], rng: Generator) -> Tensor:
    """Stills `[1, 3, S, S]` in one frame of that size: side by side, or one above the other."""
    upright = bool(torch.rand(1, generator=rng) < 0.5)
    size = stills[0].shape[-1]
    margin = (len(stills) - 1) * size // 8  # each gives a strip from its middle, so that little is squeezed
    bounds = [size * part // len(stills) for part in range(len(stills) + 1)]
    strips = [
        F.interpolate(
            (picture.mT if upright else picture)[..., margin : size - margin],
            (size, last - first),
            mode="bilinear",
            antialias=True,
        )
        for picture, (first, last) in zip(stills, itertools.pairwise(bounds), strict=True)
    ]
    frame = torch.cat(strips, dim=-1)
    return frame.mT if upright else frame


@dataclass(frozen=True)
class Composition:
    """What sequences are composed of.

    Attributes:
        labels: the vocabulary.
        licences: patterns of the licences whose rows may be used; empty takes all.
        durations: shortest and longest sequence in seconds.
        sequences: how many are composed of each part, `train`, `val` and `test`.
        mixture: how things are heard and seen; what is left of 1 is a sound outside the vocabulary.
    """

    sequences: dict[str, int]
    labels: dict[str, Label] = field(default_factory=dict)
    durations: tuple[float, ...] = DURATIONS
    licences: tuple[str, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)

    def __post_init__(self) -> None:
        if self.sequences.keys() != set(PARTS) or any(count < 1 for count in self.sequences.values()):
            raise ValueError(f"sequences must give a number of at least 1 for each of {', '.join(PARTS)}")


class ComposedSequences(Dataset[Sample]):
    """Encoded sequences in memory; features are kept as float16."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = [s._replace(audio=s.audio.half(), visual=s.visual.half()) for s in samples]

    def __len__(self) -> int:
        """How many sequences."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """One sequence."""
        sample = self.samples[index]
        return sample._replace(audio=sample.audio.float(), visual=sample.visual.float())


def sequence_names(composition: Composition, part: str) -> list[str]:
    """The names of the sequences of a part, which decide what is in them."""
    return [f"{part}-{index:04d}" for index in range(composition.sequences[part])]


def part_pool(composition: Composition, data: Sequence[Path], part: str, sample_rate: int, size: int) -> Pool:
    """The sounds, and the pictures for frames of `size`, of one split of the packs."""
    return Pool(split_rows(data, part, composition.licences), composition.labels, sample_rate, 256)


def composed(composition: Composition, data: Sequence[Path], part: str, cache: Path) -> ComposedSequences:
    """The sequences of a part, from `cache` if they were made before of the same packs with the same encoders."""
    hashes = [weights_file.sha256(registry.encoder_file(name)) for name in ENCODERS]
    hashes += [starter.manifest_hash(folder) for folder in data]
    facts = [
        composition.licences,
        composition.durations,
        asdict(composition.mixture),
        {n: (label.pictures, label.recordings) for n, label in composition.labels.items()},
        hashes,
    ]
    digest = hashlib.sha256(json.dumps([*facts, composition.sequences[part], part]).encode()).hexdigest()[:12]
    path = cache / f"sequences-{part}-{digest}.pt"
    if path.is_file():
        return ComposedSequences([Sample(*fields) for fields in torch.load(path, weights_only=True)])
    sound, picture = (encoders.load(name) for name in ENCODERS)
    pool = part_pool(composition, data, part, sound.rate, picture.config.size)
    log.info("composing %d sequences of part %s", composition.sequences[part], part)
    names = sequence_names(composition, part)
    made = (make(pool, picture.config.size, composition.mixture, name, composition.durations) for name in names)
    sequences = ComposedSequences([encode(one, sound, picture, name) for one, name in zip(made, names, strict=True)])
    cache.mkdir(parents=True, exist_ok=True)
    working = path.with_suffix(".part")
    torch.save([tuple(sample) for sample in sequences.samples], working)
    os.replace(working, path)
    return sequences


class Made(NamedTuple):
    """A sequence before it is encoded.

    Attributes:
        plan: what happens in it.
        wave: `[samples]` in -1..1.
        frames: distinct pictures `[M, 3, size, size]` in 0..1.
        shown: which of them is shown in each quarter of a second, `[4 * seconds]`.
    """

    plan: Plan
    wave: Tensor
    frames: Tensor
    shown: Tensor


def make(pool: Pool, size: int, mixture: Mixture, name: str, durations: tuple[float, ...] = DURATIONS) -> Made:
    """Make one sequence with pictures of `size`, see `plan`; the same name gives the same one."""
    sequence = planned(pool, mixture, name, durations)
    return Made(
        sequence,
        sound_track(sequence, pool, drawn(name, "sound")),
        *picture_track(sequence, pool, size, drawn(name, "picture")),
    )


def planned(pool: Pool, mixture: Mixture, name: str, durations: tuple[float, ...] = DURATIONS) -> Plan:
    """What happens in the sequence of that name."""
    return plan(drawn(name, "plan"), pool.labels, mixture, durations)


def drawn(name: str, part: str) -> Generator:
    """What one part of a sequence is drawn from, so that each can be made without the others."""
    return torch.Generator().manual_seed(zlib.crc32(f"{name} {part}".encode()))


@torch.inference_mode()
def encode(made: Made, sound: StarterSoundDense, picture: EfficientNetLite0Dense, name: str) -> Sample:
    """The features of a sequence, on the grid of the encoders, and its events."""
    waves = F.pad(made.wave, (sound.context, sound.context)).unfold(0, sound.window, sound.stride)
    audio = torch.cat([sound(some) for some in waves.split(64)])
    with torch.autocast("cpu", torch.bfloat16):
        frames = (made.frames * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        vectors = torch.cat([picture.pooled(picture.maps(some).float()) for some in frames.split(16)])
    visual = picture.encode(vectors[made.shown].unfold(0, picture.window, picture.stride).movedim(-1, 1))
    events = made.plan.events()
    seconds = np.array([(event.start, event.end) for event in events]).reshape(-1, 2)
    segments = torch.from_numpy(to_steps(seconds, sound.grid)).float()
    labels = torch.tensor([event.label for event in events], dtype=torch.int64)
    return Sample(name, made.plan.duration, audio, visual, segments, labels)
