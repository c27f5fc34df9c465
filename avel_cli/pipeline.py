"""`detect`: media, encoders, localizer, timeline, put together.

Memory does not grow with the length of a file, but for the scores: some hundred bytes a second.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from avel_cli import encoders, localizers, published
from avel_cli import words as asked
from avel_cli.encoders.stream import FeatureStream, Precision
from avel_cli.errors import MediaError, ModelError, SetupError, UsageError, nearest
from avel_cli.hub import registry, weights_file
from avel_cli.localizers.dense.windows import Rows
from avel_cli.localizers.tagged.tags import Tags
from avel_cli.localizers.words.network import Words
from avel_cli.media.probe import Media, probe
from avel_cli.media.select import select, until_one_ends
from avel_cli.tasks import task_of
from avel_cli.tasks.base import Decoding, Found, Show
from avel_cli.timeline.events import Timeline
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.labels import ALONE
from avel_cli.timeline.segments import match_labels

log = logging.getLogger("avel")

BLOCK_SECONDS = 10  # of features that are made at once

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Options:
    """What the user may choose for a file.

    Attributes:
        min_score: events below it are dropped, 0..1; None takes the threshold that came with the weights.
        min_duration: shorter events are dropped, in seconds.
        labels: keep only these; empty keeps all.
        top_k: keep the best so many events of a file.
        show: `both` lists what is heard and seen; `heard` and `seen` also what is only that, `all` all three. For
            models that tell them apart.
        audio_track: which sound to listen to, from 0; None takes the container's default, or the first that is not
            silent.
        video_track: which pictures to look at, from 0; None takes the first that move.
        start: where to begin, in seconds since the start of the file.
        end: where to end, on the same clock; None goes to the end.
        strict: a file that could not be decoded whole is an error instead of a warning.
        keep_scores: keep the scores of each second in the timeline, so that its events can be decoded again.
    """

    min_score: float | None = None
    min_duration: float = 0.0
    labels: tuple[str, ...] = ()
    top_k: int | None = None
    show: Show = "both"
    audio_track: int | None = None
    video_track: int | None = None
    start: float = 0.0
    end: float | None = None
    strict: bool = False
    keep_scores: bool = False


class Detector:
    """Weights loaded once, used for any number of files.

    Args:
        model: a name from `avel models`, or `auto`, the strongest on this machine; or a weights file that `avel train`
            wrote, `*.safetensors`. Published weights that are missing are fetched.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the encoders' arithmetic; `bf16` and `fp16` are faster on GPUs and differ a little.
        frames_per_second: for encoders that average over frames, fewer are faster and less faithful; None takes
            the published rate.
        offline: never open a connection.
        weights: files to use in place of what the catalogue names, by model, encoder or asset.
        words: phrases to find in place of a model's labels, such as "glass breaking"; see `words.understood`.

    Raises:
        ModelError: if the model is unknown, or its weights are missing or damaged, or cannot be fetched.
        SetupError: if the device is not there.
        UsageError: if the frames of the encoder cannot be fewer, or a word is like no known name.
    """

    def __init__(
        self,
        model: str = "auto",
        device: str = "auto",
        *,
        precision: Precision = "fp32",
        frames_per_second: int | None = None,
        offline: bool = False,
        weights: Mapping[str, Path] | None = None,
        words: Sequence[str] = (),
    ) -> None:
        self.device, self.precision, self.frames_per_second = choose_device(device), precision, frames_per_second
        if not words and asked.takes_words(model) and model != asked.OFFLINE:
            raise UsageError(f"{model} answers words, and there are none")
        self.wording = asked.understood(words, model) if words or model == asked.OFFLINE else None
        self.card = self.wording.card if self.wording else registry.model(model)
        self.grid = Grid(**self.card.grid)
        self.threshold = self.min_score = 0.5
        self.steps = 0  # of a window, for localizers that were trained on such
        self.parents: dict[str, str] = {}
        self.localizer: Any
        self.sound: Any
        self.pictures: list[Any]
        if self.wording and self.wording.as_they_are:
            if frames_per_second is not None:
                raise UsageError("PE-AV sees 8 frames a second; leave --frames-per-second out")
            self.files = dict(asked.files(self.card))
            parts = (part.to(self.device) for part in asked.opened(self.wording))
            self.localizer, self.sound, *self.pictures = parts
        else:
            self._load(offline, weights or {})
        self.task = task_of(self.localizer)

    def _load(self, offline: bool, weights: Mapping[str, Path]) -> None:
        """Localizer and encoders from weights files of avel."""
        ready = published.prepare(self.card.needs, offline=offline, files=weights, say=log.warning)
        self.files = {self.card.name: self.card.path, **ready}
        path = self.files[self.card.name]
        header = weights_file.read_header(path)
        self.localizer = (asked.network(self.wording) if self.wording else localizers.load(path)).to(self.device)
        self.sound, *self.pictures = (
            encoders.load(name, self.files[name], self.frames_per_second).to(self.device) for name in self.card.encoders
        )
        self._check_widths(path)
        if isinstance(tags := getattr(self.localizer, "tags", None), Tags):
            tags.adopt(self.sound, self.picture)
        self.threshold, self.min_score = float(header["threshold"]), float(header["min_score"])
        self.steps = int(header.get("steps", 0))
        self.parents = {} if self.wording else header.get("parents", {})

    def _check_widths(self, path: Path) -> None:
        config: Any = self.localizer.config
        parts = {"sound": ([self.sound], config.audio_dim), "picture": (self.pictures, config.visual_dim)}
        for modality, (given, width) in parts.items():
            alike = all(encoder.modality == modality for encoder in given)
            if not alike or sum(encoder.shape[-1] for encoder in given) != width:
                made = ", ".join(self.card.encoders)
                raise ModelError(f"{path}: takes {modality} features {width} wide, which is not what {made} make")

    @property
    def picture(self) -> Any:
        """The picture encoder of a model that has one; I3D for UnAV-100 is two, whose features are joined."""
        return self.pictures[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Everything that this model can say."""
        return self.card.labels

    @property
    def description(self) -> str:
        """One line: which weights these are."""
        return f"{self.card.name}: {self.card.description}"

    def detect(
        self, path: str | Path, options: Options | None = None, progress: Progress | None = None, **changes: Any
    ) -> Timeline:
        """The timeline of one file.

        Args:
            path: of the file.
            options: what is asked for.
            progress: is told the seconds done and the seconds in all.
            changes: fields of `Options`, in place of those in `options`: `detect(path, min_score=0.5, labels="dog")`.

        Raises:
            InputError: if the file cannot be read or decoded, or has no such audio track; with `strict`, also if not
                all of it could be decoded.
            UsageError: if the model has no such label, or an option is unknown or out of range.
        """
        options = chosen(options or Options(), changes)
        if self.wording and not self.labels:
            raise UsageError(f"{self.card.name} answers words, and there are none; give some with --words")
        min_alone = ALONE if options.min_score is None else options.min_score
        options = replace(
            options,
            labels=match_labels(options.labels, self.labels),
            min_score=self.min_score if options.min_score is None else options.min_score,
        )
        media = probe(path, options.video_track)
        reason = missing_stream(media)
        found = Found(())
        warnings: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if reason is None:
            part, notes = select(media, options.audio_track, options.start, last_second(media, options))
            how = self._decoding(part, options, min_alone)
            with closing(self.features(part, progress)) as features:
                found = moved(self.task.decode(self.localizer, features, how), part.begin)
            reason = None if features.audible else "the audio track is silent"
            warnings, notes = features.warnings, notes + features.notes
        if options.strict and warnings:
            raise MediaError(f"{media.path}: {warnings[0]}; without --strict the readable part is used")
        return Timeline(
            file=str(path),
            duration=media.duration,
            events=found.events,
            labels=self.labels,
            reason=reason,
            warnings=warnings + notes,
            media=media.facts(),
            best=found.best,
            seconds=found.seconds,
            scores=found.scores,
            model=self.provenance(),
            grid=asdict(self.grid),
            parameters={
                **asdict(options),
                "labels": list(options.labels),
                "threshold": self.threshold,
                **({"min_alone": min_alone} if getattr(self.localizer, "known_by", ()) else {}),
                "precision": self.precision,
                "frames_per_second": self.frames_per_second,
            },
        )

    def provenance(self) -> dict[str, Any]:
        """Names and hashes of the weights in use."""
        hashes = {name: weights_file.sha256(path) for name, path in self.files.items()}
        told = {"words": self.wording.told()} if self.wording and self.wording.matches else {}
        return {"name": self.card.name, "localizer": self.card.localizer, "sha256": hashes, **told}

    def features(self, media: Media, progress: Progress | None = None) -> BothStreams:
        """What the encoders make of a file, or a selection of it, block by block."""
        return BothStreams(self, media, progress)

    @torch.inference_mode()
    def names(self, media: Media, progress: Progress | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How likely every known name is heard `[T, 527]` and seen `[T, 1000 + P]`; 0 where there is nothing to.

        Raises:
            InputError: if the file cannot be decoded.
        """
        assert isinstance(self.localizer, Words)
        heard, seen = [], []
        with closing(self.features(media, progress)) as features:
            for rows in features:
                found = self.localizer.tags.names(rows.audio[None], rows.visual.mean(dim=(1, 2))[None])
                heard.append((found.sounds[0] * rows.heard[:, None]).cpu())
                seen.append((torch.cat(found[1:], dim=-1)[0] * rows.seen[:, None]).cpu())
        return torch.cat(heard).numpy(), torch.cat(seen).numpy()

    def _decoding(self, media: Media, options: Options, min_alone: float) -> Decoding:
        begin, end = both_last(media)
        assert options.min_score is not None
        return Decoding(
            labels=self.labels,
            parents=tuple(self.parents.items()),
            grid=self.grid,
            steps=self.steps,
            duration=media.duration,
            begin=begin,
            end=end,
            threshold=self.threshold,
            min_score=options.min_score,
            min_duration=options.min_duration,
            keep=options.labels,
            top_k=options.top_k,
            show=options.show,
            known_by=getattr(self.localizer, "known_by", ()),
            min_alone=min_alone,
            keep_scores=options.keep_scores,
        )


class BothStreams(Iterator[Rows]):
    """Features of sound and pictures of one file in step, on the grid of a detector's model.

    Attributes:
        audible: whether anything could be heard so far.
    """

    def __init__(self, detector: Detector, media: Media, progress: Progress | None) -> None:
        self.audible = False
        self._grid, self._duration, self._progress, self._done = detector.grid, media.duration, progress, 0
        count = self._grid.count(media.duration)
        settings: dict[str, Any] = {
            "together": math.ceil(BLOCK_SECONDS / self._grid.stride),
            "precision": detector.precision,
        }
        self._sound = FeatureStream(media, detector.sound, count, **settings)
        self._pictures = [FeatureStream(media, encoder, count, **settings) for encoder in detector.pictures]
        self._steps = zip(self._sound, *self._pictures, strict=True)

    def __next__(self) -> Rows:
        heard, *seen = next(self._steps)
        self.audible |= bool(heard.present.any())
        self._done += len(heard.present)
        if self._progress:
            self._progress(min(self._done * self._grid.stride, self._duration), self._duration)
        visible = np.logical_and.reduce([part.present for part in seen])
        there = (torch.from_numpy(present).to(heard.values.device) for present in (heard.present, visible))
        return Rows(heard.values, torch.cat([part.values for part in seen], dim=-1), *there)

    def close(self) -> None:
        """End all decoders."""
        for stream in (self._sound, *self._pictures):
            stream.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the decoding, one line each; complete once the iteration is over."""
        return self._sound.warnings + self._pictures[0].warnings  # the pictures are of one stream

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user, one line each; complete once the iteration is over."""
        return self._sound.notes + self._pictures[0].notes


def both_last(media: Media) -> tuple[float, float]:
    """From when to when, in seconds, there is both picture and sound: events reach no further."""
    assert media.video and media.default_track is not None
    heard = media.audio[media.default_track]
    return max(media.video.start, heard.start), min(media.video.end, heard.end)


def last_second(media: Media, options: Options) -> float | None:
    """Where the work may end: not long after one of the streams has, unless what is heard or seen alone counts."""
    if options.show != "both":
        return options.end
    last = until_one_ends(media, options.audio_track)
    return last if options.end is None else min(last, options.end)


def moved(found: Found, seconds: float) -> Found:
    """What was found, so much later."""
    if not seconds:
        return found
    events = tuple(replace(event, start=event.start + seconds, end=event.end + seconds) for event in found.events)
    return found._replace(
        events=events,
        seconds=tuple(second._replace(start=second.start + seconds) for second in found.seconds),
        scores=found.scores and {**found.scores, "begin": seconds},
    )


def missing_stream(media: Media) -> str | None:
    """Why a file cannot hold an audio-visual event, or None if it can."""
    if media.video is None:
        return "no video track: an event must be seen and heard"
    if not media.audio:
        return "no audio track: an event must be seen and heard"
    return None


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes a GPU where there is one.

    Raises:
        SetupError: if it is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise SetupError(f'device "{name}" is not there; see avel doctor, or use --device auto') from None
    return device


def chosen(options: Options, changes: Mapping[str, Any]) -> Options:
    """`options` with some fields changed; one label may stand for a tuple of it.

    Raises:
        UsageError: if there is no such option, naming the nearest one, or its value is out of range.
    """
    if unknown := changes.keys() - Options.__dataclass_fields__.keys():
        name = min(unknown)
        raise UsageError(f'no option is called "{name}"{nearest(name, Options.__dataclass_fields__)}')
    labels = changes.get("labels", options.labels)
    options = replace(options, **{**changes, "labels": (labels,) if isinstance(labels, str) else tuple(labels)})
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        raise UsageError(f"min_score is {options.min_score}; it must be from 0 to 1")
    if not 0 <= options.min_duration < math.inf:
        raise UsageError(f"min_duration is {options.min_duration}; it must be 0 seconds or more")
    if not 0 <= options.start < (math.inf if options.end is None else options.end):
        raise UsageError(f"the part from {options.start} to {options.end} s is none; it must begin before it ends")
    if options.top_k is not None and options.top_k < 1:
        raise UsageError(f"top_k is {options.top_k}; it must be 1 or more")
    if options.show not in get_args(Show):
        raise UsageError(f"show is {options.show!r}; it must be one of {', '.join(get_args(Show))}")
    return options


def detect(
    path: str | Path,
    *,
    model: str = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    frames_per_second: int | None = None,
    offline: bool = False,
    weights: Mapping[str, Path] | None = None,
    words: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Timeline:
    """The events of a video file that are both seen and heard. `options` are the fields of `Options`.

    For several files make one `Detector`, which takes the same settings, and call its `detect`: the weights are then
    loaded once.
    """
    detector = Detector(
        model,
        device,
        precision=precision,
        frames_per_second=frames_per_second,
        offline=offline,
        weights=weights,
        words=words,
    )
    return detector.detect(path, progress=progress, **options)
