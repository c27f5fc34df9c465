"""Sound and pictures of a file on one clock: time 0 is the start of the container, whichever stream begins late.

The rules of time: pictures are chosen by their own times, and sound is laid by its own times; gaps are silence,
overlaps are cut. A clock that begins anew or jumps is put right for both streams by the same offset. Edit lists are
honoured. What comes before the first picture that can be decoded on its own is not seen. Size, pixel format, channels
and sample rate may change at any moment. A stream lasts as long as its own packets say, whatever the header claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from avel_cli.errors import InputError, MediaError
from avel_cli.media.child import Run
from avel_cli.media.probe import AudioStream, Media, VideoStream

TOLERANCE_SECONDS = 0.5
"""How much of a stream may be lacking before it is worth a warning; codec delays stay well below."""
T = TypeVar("T")


@dataclass(frozen=True)
class FrameBatch:
    """Consecutive pictures: `times` float64 `[N]` in seconds, `frames` uint8 `[N, H, W, 3]`, RGB, 0..255."""

    times: NDArray[np.float64]
    frames: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Unit:
    """One sample or picture as it is decoded: `size` bytes, `rate` of them a second, read `together` at a time."""

    size: int
    rate: float
    together: int


class Reading(Generic[T], Iterator[T]):
    """An iterator over one decoded stream that can say afterwards how much of it there was.

    A file that was cut off or damaged just ends, so look at `warnings` when the iteration is over. Closing it, or
    dropping it, ends the decoder's process.

    Attributes:
        decoded_seconds: the time up to which the stream has been decoded so far.
        promised_seconds: the time up to which it should go by packets and header.
    """

    def __init__(
        self,
        run: Run,
        stream: AudioStream | VideoStream,
        unit: Unit,
        build: Callable[[NDArray[np.uint8], int], T],
    ) -> None:
        self.decoded_seconds = 0.0
        self.promised_seconds = stream.promised
        self._ended = False
        self._what = "pictures" if isinstance(stream, VideoStream) else "sound"
        self._run, self._unit, self._build = run, unit, build
        self._blocks = run.blocks(unit.size * unit.together)
        self._done = 0

    def __next__(self) -> T:
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
            raise StopIteration if self._done else self._run.error()
        first, count = self._done, len(block) // self._unit.size
        self._done += count
        self.decoded_seconds = self._done / self._unit.rate
        return self._build(block[: count * self._unit.size], first)

    def close(self) -> None:
        """End the decoder's process; nothing more will come."""
        self._blocks.close()

    @property
    def shortfall(self) -> float:
        """Seconds that were promised and not decoded, at least 0; meaningful once the iteration is over."""
        return max(0.0, self.promised_seconds - self.decoded_seconds)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this decode, one line each; complete once the iteration is over."""
        texts = []
        if self._ended and self.shortfall > TOLERANCE_SECONDS:
            extent = f"{self.decoded_seconds:.1f} s of {self.promised_seconds:.1f} s"
            texts.append(f"only {extent} of the {self._what} could be decoded; the file is cut off or damaged")
        if self._run.crash:
            texts.append(f"{self._run.crash} in the middle of the {self._what}")
        if count := self._run.log.complaints:
            texts.append(f"FFmpeg's complaints about the {self._what}: {count}, the first: {self._run.log.first}")
        return tuple(texts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user, one line each; complete once the iteration is over."""
        return tuple(f"{self._what}: {note}" for note in self._run.log.notes)


def read_audio(
    media: Media, sample_rate: int, *, track: int | None = None, block_seconds: float = 10
) -> Reading[NDArray[np.float32]]:
    """Decode one audio track to mono.

    Sample `i` sounds at `i / sample_rate` seconds since `media.begin`: a late track begins with silence, gaps
    are filled with silence, and the sound ends where the track ends, which may be before the video does. The mix is
    the mean of all channels, or the loudest one where they cancel: where the mix is 15 dB below that (see `notes`).

    Args:
        media: the probed file.
        sample_rate: wanted rate in Hz.
        track: which audio track, counted from 0; the container's default track if None.
        block_seconds: length of a block.

    Returns:
        An iterator over float32 `[block_seconds * sample_rate]` in -1..1; only the last block may be shorter.

    Raises:
        InputError: the file has no such track.
        MediaError: the file has no sound (at once), or none of it can be decoded (when iterated).
    """
    index = media.default_track if track is None else track
    if index is None:
        raise MediaError(f"{str(media.path)!r} has no audio track")
    if not 0 <= index < len(media.audio):
        raise InputError(f"{str(media.path)!r} has no audio track {index}; it has {len(media.audio)}, counted from 0")
    stream = media.audio[index]
    run = Run(
        media.path,
        "sound",
        seconds=media.duration,
        muted=[media.video.codec] if media.video else (),
        index=stream.index,
        sample_rate=sample_rate,
        begin=media.begin,
        until=_finite(media.until),
    )
    return Reading(run, stream, Unit(4, sample_rate, round(block_seconds * sample_rate)), _samples)


def read_frames(
    media: Media, fps: float, size: tuple[int, int] | None, *, batch: int = 64, pace: float | None = None
) -> Reading[FrameBatch]:
    """Decode the video at a fixed rate and size.

    Frame `k` is what is on screen at `k / fps` seconds since `media.begin`, for every `k` with
    `k / fps < end`. Before the first picture of a late video its first picture is shown. The picture is turned
    upright.

    Args:
        media: the probed file.
        fps: wanted pictures a second.
        size: height and width in pixels: the picture is stretched to it whatever its aspect, and averaged over the
            pixels it loses. None leaves it as it is stored.
        batch: pictures a batch; only the last batch may be shorter.
        pace: take the times from the numbers of the pictures, as if there were so many a second in the file.

    Raises:
        MediaError: the file has no video (at once), or none of it can be decoded (when iterated).
    """
    if media.video is None:
        raise MediaError(f"{str(media.path)!r} has no video stream")
    height, width = size or media.video.upright_size

    def build(block: NDArray[np.uint8], first: int) -> FrameBatch:
        frames = block.reshape(-1, height, width, 3)
        return FrameBatch(np.arange(first, first + len(frames)) / fps, frames)

    run = Run(
        media.path,
        "pictures",
        seconds=media.duration,
        pixels=media.video.width * media.video.height,
        muted=[stream.codec for stream in media.audio],
        index=media.video.index,
        fps=fps,
        height=height,
        width=width,
        averaged=size is not None,
        pace=pace,
        from_key=media.video.has_key,
        begin=media.begin,
        until=_finite(media.until),
    )
    return Reading(run, media.video, Unit(height * width * 3, fps, batch), build)


def _finite(seconds: float) -> float | None:
    """For JSON, which has no infinity."""
    return seconds if math.isfinite(seconds) else None


def _samples(block: NDArray[np.uint8], _: int) -> NDArray[np.float32]:
    samples = block.view(np.float32)
    # Lossy codecs overshoot a little, and float samples may be anything.
    return np.clip(np.nan_to_num(samples, copy=False), -1, 1, out=samples)
