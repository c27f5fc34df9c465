"""The starter packs as a data set: clips or sequences composed of them, and tags of the vocabulary for the network."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avel_cli import encoders, published
from avel_cli.datasets import composed_dense, starter, tags
from avel_cli.datasets.base import DataSet, Part, Request
from avel_cli.datasets.composed import Label, Mixture, Pool, split_rows
from avel_cli.datasets.composed_clips import ComposedClips, answers, heard, seen
from avel_cli.datasets.composed_dense import Composition
from avel_cli.datasets.dense import Cropping
from avel_cli.encoders.efficientat import RATE
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.tagged.loco import TaggedLoCo
from avel_cli.localizers.tagged.network import Tagged
from avel_cli.tasks.base import Data
from avel_cli.tasks.dense import annotated
from avel_cli.timeline.grid import Grid

log = logging.getLogger("avel")
PICTURES = 256  # side of the pictures that frames are cut from
SEQUENCE_GRID = Grid(stride=0.25, window=1.0)


@dataclass(frozen=True)
class Options(Cropping):
    """What is composed.

    Attributes:
        labels: the vocabulary.
        clips: how many clips of ten seconds are composed of each part of the packs.
        sequences: the same of untrimmed sequences; a recipe has either.
        durations: shortest and longest sequence in seconds.
        licences: patterns of the licences whose rows of the packs may be used; empty takes all.
        mixture: shares of the kinds of things.
    """

    labels: dict[str, Label] = field(default_factory=dict)
    clips: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    durations: tuple[float, ...] = composed_dense.DURATIONS
    licences: tuple[str, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)

    def __post_init__(self) -> None:
        if bool(self.clips) == bool(self.sequences):
            raise ValueError("either clips or sequences are composed")
        if any(count < 1 for count in (*self.clips.values(), *self.sequences.values())):
            raise ValueError("clips and sequences must be at least 1 of each part")
        if unknown := {label.parent for label in self.labels.values()} - self.labels.keys() - {""}:
            raise ValueError(f"parent {min(unknown)!r} is no label")

    @property
    def parents(self) -> dict[str, str]:
        """The more general label of each label that has one."""
        return {name: label.parent for name, label in self.labels.items() if label.parent}

    @property
    def composition(self) -> Composition:
        """What sequences are composed of."""
        return Composition(self.sequences, self.labels, self.durations, self.licences, self.mixture)


def open_packs(request: Request) -> Data:
    """What is composed of the parts of the packs, from the cache where it was made before.

    Raises:
        UsageError: if the recipe composes nothing of a part.
    """
    options: Options = request.options
    if lacking := set(request.parts) - (options.clips or options.sequences).keys():
        raise UsageError(f'the recipe composes nothing of part "{min(lacking)}"; set data.clips.{min(lacking)}')
    files = published.prepare(request.encoders, offline=request.offline, files=request.weights)
    facts = (options, request.folders, files, request.encoders, request.cache)
    labels, parents = tuple(options.labels), options.parents
    if options.clips:
        clips = {part: composed_clips(*facts, part) for part in request.parts}
        return Data(
            clips,
            labels,
            {},
            request.encoders,
            parents=parents,
            network=lambda recipe: _tagged(recipe, clips, *facts),
        )
    sequences = {
        part: composed_dense.composed(options.composition, request.folders, part, request.cache)
        for part in request.parts
    }
    return Data(
        sequences,
        labels,
        {},
        composed_dense.ENCODERS,
        SEQUENCE_GRID,
        parents=parents,
        truth={part: annotated(some, SEQUENCE_GRID) for part, some in sequences.items()},
        network=lambda recipe: _tagged_loco(recipe, sequences, *facts),
    )


def composed_clips(
    options: Options,
    folders: Sequence[Path],
    files: Mapping[str, Path],
    encoder_names: tuple[str, ...],
    folder: Path,
    part: Part,
) -> ComposedClips:
    """The composed clips of a part, from `folder` if they were made before with the same encoders and options."""
    names = [f"clip-{part}-{index:05d}" for index in range(options.clips[part])]
    labels = {name: (label.pictures, label.recordings) for name, label in options.labels.items()}
    facts = [asdict(options.mixture), labels, options.licences, names[-1], *map(starter.manifest_hash, folders)]

    @cache
    def pool() -> Pool:
        log.info("composing %d clips of part %s", len(names), part)
        return Pool(split_rows(folders, part, options.licences), options.labels, RATE, PICTURES)

    def kept(what: str, made_by: str, make: Callable[[], Tensor]) -> Tensor:
        made_by = made_by and weights_file.sha256(files[made_by])
        digest = hashlib.sha256(json.dumps([*facts, made_by]).encode()).hexdigest()[:12]
        path = folder / f"composed-{part}-{what}-{digest}.pt"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(make(), working := path.with_suffix(".part"))
            os.replace(working, path)
        made: Tensor = torch.load(path, weights_only=True)
        return made

    sound, picture = encoder_names
    return ComposedClips(
        kept("heard", sound, lambda: heard(pool(), encoders.load(sound, files[sound]), names, options.mixture)),
        kept("seen", picture, lambda: seen(pool(), encoders.load(picture, files[picture]), names, options.mixture)),
        kept("targets", "", lambda: answers(pool(), names, options.mixture)),
    )


def _tagged(
    recipe: Any,
    clips: Mapping[Part, ComposedClips],
    options: Options,
    folders: Sequence[Path],
    files: Mapping[str, Path],
    names: tuple[str, ...],
    folder: Path,
) -> Tagged:
    """A new network on the tags of the encoders."""
    sound, picture = (encoders.load(name, files[name]) for name in names)
    heads = tags.build(options.labels, folders, options.licences, sound, picture, folder)
    torch.manual_seed(recipe.seed)
    network = Tagged(recipe.config({"tags": heads.config}))
    network.tags.load_state_dict(heads.state_dict())
    network.tags.adopt(sound, picture)
    network.known = clips["train"].targets.flatten(0, 1).bool().any(0)
    return network


def _tagged_loco(
    recipe: Any,
    sequences: Mapping[Part, composed_dense.ComposedSequences],
    options: Options,
    folders: Sequence[Path],
    files: Mapping[str, Path],
    names: tuple[str, ...],
    folder: Path,
) -> TaggedLoCo:
    """A new network on the tags of the encoders, for the labels that the sequences hold."""
    sound, picture = (encoders.load(name, files[name]) for name in names)
    reach = round(1 / SEQUENCE_GRID.stride)
    heads = tags.build(options.labels, folders, options.licences, sound, picture, folder, pooled=2, reach=reach)
    known = sorted({int(label) for sample in sequences["train"].samples for label in sample.labels})
    torch.manual_seed(recipe.seed)
    network = TaggedLoCo(recipe.config({"tags": heads.config, "known": tuple(known)}))
    network.tags.load_state_dict(heads.state_dict())
    network.tags.adopt(sound, picture)
    return network


DATASET = DataSet(open_packs, ("labels", "dense"), Options)
