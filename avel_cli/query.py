"""Which part of the picture track belongs to a sound, and which part of the sound to a picture.

Cross-modal localization of any file by the branch of CCLN, a reconstruction (`localizers/ccln.py`). Both tracks are put
into one space, each segment by itself, so that where in the file it lies tells nothing; the windows of the other track
that are closest to what was asked for are the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avel_cli.encoders.stream import Features, FeatureStream
from avel_cli.errors import InputError, UsageError
from avel_cli.localizers.ccln.network import CCLN
from avel_cli.media.probe import Media, probe
from avel_cli.media.select import select, until_one_ends
from avel_cli.metrics.matching import Window, rank_windows, segment_by_segment
from avel_cli.pipeline import Detector, Progress
from avel_cli.timeline.grid import Grid

Modality = Literal["sound", "picture"]
MODEL = "ccln.starter"


class Match(NamedTuple):
    """Seconds `start` to `end` of a file and their distance to the query: 0 for the same, at most 2."""

    start: float
    end: float
    distance: float


@dataclass(frozen=True)
class Answer:
    """What belongs to a part of a file.

    Attributes:
        file: as it was given.
        asked: the modality of the query; the matches are in the other one.
        start: of the query in seconds, in whole segments.
        end: the same.
        matches: the closest first.
        warnings: what the user should know about the decoding, one line each.
        model: names and hashes of the weights.
    """

    file: str
    asked: Modality
    start: float
    end: float
    matches: tuple[Match, ...]
    warnings: tuple[str, ...]
    model: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain values."""
        matches = [match._asdict() for match in self.matches]
        return {**asdict(self), "matches": matches, "warnings": list(self.warnings)}


def query(
    detector: Detector,
    path: str | Path,
    asked: Modality,
    span: tuple[float, float],
    *,
    top_k: int | None = None,
    audio_track: int | None = None,
    progress: Progress | None = None,
) -> Answer:
    """The windows of the other track that are closest to a part of this one.

    A window that shares more than half of its time with a closer one is left out, and so is one in which there is
    nothing to be seen or heard.

    Args:
        detector: with weights of CCLN that have the branch and its projections.
        path: of the file.
        asked: whether the query is a sound or a picture.
        span: begin and end of the query in seconds; it takes the segments whose middle lies in it, at least one.
        top_k: how many windows; None for all.
        audio_track: which sound to listen to, from 0; None takes the container's default, or the first not silent.
        progress: is told the seconds done and the seconds in all, both tracks together.

    Raises:
        UsageError: if the span is none, or the model has no space in which sound and picture can be compared.
        InputError: if the file cannot be read, lacks a track, ends before the query does, or there is nothing to be
            heard or seen in the query, or in all of the other track.
    """
    network = getattr(detector.localizer, "network", detector.localizer)  # that of a tagged localizer
    if not isinstance(network, CCLN) or not network.config.wccl:
        raise UsageError(f"{detector.card.name} cannot compare sound and picture; use -m {MODEL}")
    if not 0 <= span[0] < span[1]:
        raise UsageError(f"{span[0]:g}-{span[1]:g} is no part of a file: it must begin before it ends")
    media = probe(path)
    for there, name in ((media.audio, "audio"), (media.video, "video")):
        if not there:
            raise InputError(f"{path}: no {name} track: a query compares what is heard with what is seen")
    media, notes = select(media, audio_track, until=until_one_ends(media, audio_track))
    chosen = _segments(detector.grid, span, media, str(path))
    warnings = list(notes)
    tracks: dict[Modality, Features] = {}
    modalities: tuple[Modality, Modality] = ("sound", "picture")
    for number, modality in enumerate(modalities):
        tell = _part_of(progress, number, media.duration)
        tracks[modality], said = _embedded(detector, network, media, modality, tell)
        warnings += said
    own, other = tracks.pop(asked), *tracks.values()
    if not own.present[chosen].any():
        raise InputError(f"{path}: there is no {asked} from {span[0]:g} to {span[1]:g} s")
    windows = [w for w in rank_windows(own.values[chosen], other.values) if other.present[w.start : w.end].any()]
    if not windows:
        raise InputError(f"{path}: there is no {'picture' if asked == 'sound' else 'sound'} anywhere to compare with")
    matches = tuple(_match(detector.grid, window, media.duration) for window in _apart(windows, top_k))
    start, end, _ = _match(detector.grid, Window(chosen.start, chosen.stop, 0.0), media.duration)
    return Answer(str(path), asked, start, end, matches, tuple(warnings), detector.provenance())


def _segments(grid: Grid, span: tuple[float, float], media: Media, name: str) -> slice:
    """The segments whose middle lies in the span, or the one that holds the middle of the span."""
    start, end = span
    count = grid.count(media.duration)
    if end > max(grid.seconds(count - 1)[1], media.duration):
        raise InputError(f"{name}: {start:g}-{end:g} s is outside of the file, which ends at {media.duration:.1f} s")
    inside = [index for index in range(count) if start <= sum(grid.seconds(index)) / 2 < end]
    if inside:
        return slice(inside[0], inside[-1] + 1)
    index = min(count - 1, int(((start + end) / 2 - grid.start) // grid.stride))
    return slice(index, index + 1)


def _part_of(progress: Progress | None, number: int, duration: float) -> Callable[[float], None]:
    """Tells `progress` the seconds done in the first or second of two tracks."""
    return lambda done: progress(number * duration + min(done, duration), 2 * duration) if progress else None


@torch.inference_mode()
def _embedded(
    detector: Detector,
    network: CCLN,
    media: Media,
    modality: Modality,
    tell: Callable[[float], None],
) -> tuple[Features, tuple[str, ...]]:
    """Each segment of a track as a unit vector `[n, P]`, and what the decoder warns of."""
    encoder, embed = (
        (detector.sound, network.embed_audio) if modality == "sound" else (detector.picture, network.embed_visual)
    )
    alone = segment_by_segment(embed)
    count = detector.grid.count(media.duration)
    values: list[Tensor] = []
    present = []
    with closing(FeatureStream(media, encoder, count, precision=detector.precision)) as stream:
        for step in stream:
            values.append(alone(step.values.unsqueeze(0))[0].cpu())
            present.append(step.present)
            tell(sum(map(len, present)) * detector.grid.stride)
    return Features(torch.cat(values), np.concatenate(present)), stream.warnings


def _apart(windows: list[Window], most: int | None) -> list[Window]:
    """So many windows, closest first, without those that share more than half of their length with a closer one."""
    kept: list[Window] = []
    for window in windows:
        if len(kept) == most:
            break
        if all(2 * abs(window.start - better.start) >= window.end - window.start for better in kept):
            kept.append(window)
    return kept


def _match(grid: Grid, window: Window, duration: float) -> Match:
    begin, end = grid.seconds(window.start)[0], grid.seconds(window.end - 1)[1]
    return Match(begin, min(end, duration), window.distance)
