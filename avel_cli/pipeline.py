"""`detect`: media, encoders, localizer, timeline, put together.

Memory does not grow with the length of a file, but for the scores: some hundred bytes a second.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avel_cli import checkpoint, encoders, hub, localizers
from avel_cli.encoders.grid import Grid
from avel_cli.errors import MediaError, SetupError
from avel_cli.media.decode import FrameBatch, read_audio, read_frames
from avel_cli.media.probe import Media, probe
from avel_cli.timeline.events import Timeline
from avel_cli.timeline.segments import SegmentScores, decode, match_labels

log = logging.getLogger("avel")

WINDOW = 10  # segments that an AVE localizer sees at once
HOP = 5
SILENCE = 1e-4  # root mean square of a second, full scale 1: -80 dB, below the noise of any microphone
COVERED = 0.1  # part of a segment that a stream must fill for something to be seen or heard in it

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Options:
    """What the user may choose for a file.

    Attributes:
        min_score: events below it are dropped, 0..1; None takes the threshold that came with the weights.
        min_duration: shorter events are dropped, in seconds.
        labels: keep only these; empty keeps all.
        top_k: keep the best so many events of a file.
        audio_track: which sound to listen to, from 0; None takes the container's default.
        strict: a file that could not be decoded whole is an error instead of a warning.
    """

    min_score: float | None = None
    min_duration: float = 0.0
    labels: tuple[str, ...] = ()
    top_k: int | None = None
    audio_track: int | None = None
    strict: bool = False


class Chunk(NamedTuple):
    """Up to ten segments: waves `[n, rate]`, frames uint8 `[n * fps, H, W, 3]`, what of them is there `[n]`."""

    waves: Tensor
    frames: Tensor
    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]


class Detector:
    """Weights loaded once, used for any number of files.

    Args:
        model: a name from `avel models`, or `auto`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ModelError: if the model is unknown, or its weights are missing or damaged.
        SetupError: if the device is not there.
    """

    def __init__(self, model: str = "auto", device: str = "auto") -> None:
        self.device = choose_device(device)
        self.card = hub.model(model)
        header = checkpoint.read_header(self.card.path)
        kind = localizers.localizer_class(self.card.localizer)
        self.localizer = kind(checkpoint.config(getattr(kind, "Config"), self.card.path))  # noqa: B009
        checkpoint.load_into(self.localizer, self.card.path)
        self.localizer.eval().requires_grad_(False).to(self.device)
        self.sound, self.picture = (encoders.load(name).to(self.device) for name in self.card.encoders)
        self.grid = Grid(**self.card.grid)
        self.threshold, self.min_score = float(header["threshold"]), float(header["min_score"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Everything that this model can say."""
        return self.card.labels

    @property
    def description(self) -> str:
        """One line: which weights these are."""
        return f"{self.card.name}: {self.card.description}"

    def detect(self, path: str | Path, options: Options | None = None, progress: Progress | None = None) -> Timeline:
        """The timeline of one file. `progress` is told the seconds done and the seconds in all.

        Raises:
            InputError: if the file cannot be read or decoded, or has no such audio track; with `strict`, also if not
                all of it could be decoded.
            UsageError: if the model has no such label.
        """
        options = options or Options()
        keep = match_labels(options.labels, self.labels)
        media = probe(path)
        reason = missing_stream(media)
        scores = SegmentScores(len(self.labels))
        warnings: tuple[str, ...] = ()
        if reason is None:
            audible, warnings = self._listen_and_look(media, options, scores, progress)
            reason = None if audible else "the audio track is silent"
        if options.strict and warnings:
            raise MediaError(f"{media.path}: {warnings[0]}; without --strict the readable part is used")
        min_score = self.min_score if options.min_score is None else options.min_score
        events = decode(
            scores,
            self.labels,
            self.grid,
            count=self.grid.count(media.duration),
            duration=media.duration,
            threshold=self.threshold,
            min_score=min_score,
            min_duration=options.min_duration,
            keep=keep,
            top_k=options.top_k,
        )
        return Timeline(
            file=str(path),
            duration=media.duration,
            events=events,
            labels=self.labels,
            reason=reason,
            warnings=warnings,
            media=media.facts(),
            model=self.provenance(),
            grid=asdict(self.grid),
            parameters={**asdict(options), "labels": list(keep), "min_score": min_score, "threshold": self.threshold},
        )

    def provenance(self) -> dict[str, Any]:
        """Names and hashes of the weights in use."""
        files = {self.card.name: self.card.path, **{n: hub.encoder_file(n) for n in self.card.encoders}}
        hashes = {name: checkpoint.sha256(path) for name, path in files.items()}
        return {"name": self.card.name, "localizer": self.card.localizer, "sha256": hashes}

    @torch.inference_mode()
    def _listen_and_look(
        self, media: Media, options: Options, scores: SegmentScores, progress: Progress | None
    ) -> tuple[bool, tuple[str, ...]]:
        """Fill in the scores of every window; tells whether anything was audible, and what the decoders warn of."""
        config = self.picture.config
        rate, fps, size = self.sound.config.sample_rate, config.frames_per_second, config.size
        audio = read_audio(media, rate, track=options.audio_track, block_seconds=WINDOW)
        video = read_frames(media, fps, (size, size), batch=WINDOW * fps)
        windows = Windows(self.localizer, scores)
        start = media.video.start if media.video else 0.0
        audible = False
        try:
            for chunk in chunks(audio, video, self.grid.count(media.duration), start, rate, fps, size):
                maps = self.picture(chunk.frames.to(self.device)).unflatten(0, (len(chunk.waves), -1)).mean(1)
                windows.add(self.sound(chunk.waves.to(self.device)), maps, chunk.heard & chunk.seen)
                audible |= bool(chunk.heard.any())
                if progress:
                    progress(min(windows.segments * self.grid.stride, media.duration), media.duration)
            windows.finish()
        finally:
            audio.close()
            video.close()
        return audible, audio.warnings + video.warnings


class Windows:
    """Keeps the last ten segments and shows them to the localizer every five; the last window ends with the file."""

    def __init__(self, localizer: Any, scores: SegmentScores) -> None:
        self.localizer, self.scores = localizer, scores
        self.segments = 0
        self._next = WINDOW
        self._audio: list[Tensor] = []
        self._visual: list[Tensor] = []
        self._present: list[bool] = []

    def add(self, audio: Tensor, visual: Tensor, present: NDArray[np.bool_]) -> None:
        """Take in features of the next segments: audio `[n, D_a]`, visual `[n, H, W, D_v]`, presence `[n]`."""
        for heard, seen, there in zip(audio, visual, present.tolist(), strict=True):
            for kept, new in ((self._audio, heard), (self._visual, seen), (self._present, there)):
                kept.append(new)
                del kept[:-WINDOW]
            self.segments += 1
            if self.segments == self._next:
                self._look()

    def finish(self) -> None:
        """Look at what no window has covered yet; a file shorter than a window is padded with zeros."""
        if self.segments and self.segments != self._next - HOP:
            self._look()

    def _look(self) -> None:
        audio, visual = torch.stack(self._audio), torch.stack(self._visual)
        missing = WINDOW - len(audio)
        audio = torch.cat([audio, audio.new_zeros(missing, *audio.shape[1:])])
        visual = torch.cat([visual, visual.new_zeros(missing, *visual.shape[1:])])
        output = self.localizer(audio.unsqueeze(0), visual.unsqueeze(0))
        events = output.event_logits[0].sigmoid()[: len(self._present)].cpu().numpy()
        classes = output.category_logits[0].softmax(-1).cpu().numpy()
        self.scores.add(self.segments - len(self._present), events * np.array(self._present), classes)
        self._next = self.segments + HOP


def chunks(
    audio: Iterator[NDArray[np.float32]],
    video: Iterator[FrameBatch],
    count: int,
    video_start: float,
    rate: int,
    fps: int,
    size: int,
) -> Iterator[Chunk]:
    """Both streams in step, ten segments at a time, each filled up with silence or black where it ends early.

    A silent segment is not heard; what a late video shows before `video_start` seconds is not seen.
    """
    for first in range(0, count, WINDOW):
        number = min(WINDOW, count - first)
        samples, pictures = next(audio, None), next(video, None)
        waves, heard = _fill(samples, (number, rate), np.float32)
        frames, seen = _fill(None if pictures is None else pictures.frames, (number, fps, size, size, 3), np.uint8)
        heard &= (waves.pow(2).mean(1).sqrt() > SILENCE).numpy()
        seen &= np.arange(first, first + number) + 1 - video_start > COVERED
        yield Chunk(waves, frames.flatten(0, 1), heard, seen)
    for stream in (audio, video):  # only when nothing is left the decoders have said all
        deque(stream, maxlen=0)


def _fill(values: NDArray[Any] | None, shape: tuple[int, ...], kind: type) -> tuple[Tensor, NDArray[np.bool_]]:
    """The values in segments of `shape`, zeros after their end, and which segments they cover at least a tenth of."""
    flat: NDArray[Any] = np.zeros((shape[0] * shape[1], *shape[2:]), kind)
    length = 0 if values is None else min(len(values), len(flat))
    if values is not None:
        flat[:length] = values[:length]
    covered = np.clip(length / shape[1] - np.arange(shape[0]), 0, 1) > COVERED
    return torch.from_numpy(flat.reshape(shape)), covered


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


def detect(
    path: str | Path, *, model: str = "auto", device: str = "auto", progress: Progress | None = None, **options: Any
) -> Timeline:
    """The events of a video file that are both seen and heard. `options` are the fields of `Options`.

    For several files make one `Detector` and call its `detect`: the weights are then loaded once.
    """
    return Detector(model, device).detect(path, Options(**options), progress)
