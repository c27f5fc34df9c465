"""Sound and pictures of a file on one clock: time 0 is the start of the container, whichever stream begins late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from avel_cli.errors import InputError, MediaError
from avel_cli.media.ffmpeg import THREADS, Run, source
from avel_cli.media.probe import AudioStream, Media, VideoStream, first_packet

TOLERANCE_SECONDS = 0.5
"""How much of a stream may be lacking before it is worth a warning; codec delays stay well below."""
# FFmpeg may start the clock of these at the first stream in use, not at the container's start; versions differ.
RESTARTED_CLOCKS = {"mpegts", "mpeg", "ogg"}

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
    """One sample or picture as FFmpeg writes it: `size` bytes, `rate` of them a second, read `together` at a time."""

    size: int
    rate: float
    together: int


class Reading(Generic[T], Iterator[T]):
    """An iterator over one decoded stream that can say afterwards how much of it there was.

    FFmpeg ends with 0 on a file that was cut off or damaged, so look at `warnings` when the iteration is over.
    Closing it, or dropping it, ends the FFmpeg process.

    Attributes:
        decoded_seconds: the time up to which the stream has been decoded so far.
        promised_seconds: the time up to which it should go by packets and header.
    """

    def __init__(
        self,
        run: Run,
        media: Media,
        stream: AudioStream | VideoStream,
        unit: Unit,
        build: Callable[[NDArray[np.uint8], int], T],
    ) -> None:
        self.decoded_seconds = 0.0
        self.promised_seconds = stream.end + media.missing
        self._what = "pictures" if isinstance(stream, VideoStream) else "sound"
        self._run, self._unit, self._build = run, unit, build
        self._blocks = run.blocks(unit.size * unit.together)
        self._done = 0

    def __next__(self) -> T:
        block = next(self._blocks, None)
        if block is None:
            raise StopIteration if self._done else self._run.error()
        first, count = self._done, len(block) // self._unit.size
        self._done += count
        self.decoded_seconds = self._done / self._unit.rate
        return self._build(block[: count * self._unit.size], first)

    def close(self) -> None:
        """End the FFmpeg process; nothing more will come."""
        self._blocks.close()

    @property
    def shortfall(self) -> float:
        """Seconds that were promised and not decoded, at least 0; meaningful once the iteration is over."""
        return max(0.0, self.promised_seconds - self.decoded_seconds)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this decode, one line each; complete once the iteration is over."""
        texts = []
        if self.shortfall > TOLERANCE_SECONDS:
            extent = f"{self.decoded_seconds:.1f} s of {self.promised_seconds:.1f} s"
            texts.append(f"only {extent} of the {self._what} could be decoded; the file is cut off or damaged")
        if count := self._run.log.lines:
            texts.append(
                f"FFmpeg's complaints about the {self._what}: {count}, the first: {self._run.log.first_error()}"
            )
        return tuple(texts)


def read_audio(
    media: Media, sample_rate: int, *, track: int | None = None, block_seconds: float = 10
) -> Reading[NDArray[np.float32]]:
    """Decode one audio track to mono.

    Sample `i` sounds at `i / sample_rate` seconds since the container's start: a late track begins with silence, gaps
    are filled with silence, and the sound ends where the track ends, which may be before the video does. Channels
    are mixed by FFmpeg's weights (centre and sides kept, low-frequency effects left out), scaled so that full scale
    on all channels is full scale in the mix.

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
    name = f"a:{index}"
    opened = _input(media, stream)
    sound = opened[name].filter("asetpts", f"PTS+{_shift(media, stream, name, media.video)}/TB")
    # rematrix_maxval: without it, mixing to float samples is not scaled, and two loud channels go beyond 1.
    sound = sound.filter("aresample", sample_rate, **{"async": 1, "first_pts": 0, "rematrix_maxval": 1})
    sound = sound.filter("aformat", sample_fmts="flt", channel_layouts="mono", sample_rates=sample_rate)
    unit = Unit(4, sample_rate, round(block_seconds * sample_rate))
    output = _beside(opened, sound.output("pipe:", format="f32le"), "V:0" if media.video else None)
    return Reading(Run(media.path, output), media, stream, unit, _samples)


def read_frames(
    media: Media, fps: float, size: tuple[int, int] | None, *, batch: int = 64, pace: float | None = None
) -> Reading[FrameBatch]:
    """Decode the video at a fixed rate and size.

    Frame `k` is what is on screen at `k / fps` seconds since the container's start, for every `k` with
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
    opened = _input(media, media.video)
    other = None if media.default_track is None else media.audio[media.default_track]
    picture = opened["V:0"]
    # Containers round times to as much as 1 ms: a picture counts as shown from 1.5 ms before its time. Rounding up
    # keeps a picture from being shown before its time; FFmpeg's default shows it up to half an interval early.
    if pace is None:
        picture = picture.filter("setpts", f"floor(PTS+({_shift(media, media.video, 'V:0', other)}-0.0015)/TB+0.5)")
    else:
        picture = picture.filter("settb", "1/90000").filter("setpts", f"floor(N/{pace}/TB+0.5)")
    picture = picture.filter("fps", Fraction(fps).limit_denominator(100_000), start_time=0, round="up")
    picture = picture.filter("scale", width, height, flags="area+accurate_rnd" if size else "bicubic")

    def build(block: NDArray[np.uint8], first: int) -> FrameBatch:
        frames = block.reshape(-1, height, width, 3)
        return FrameBatch(np.arange(first, first + len(frames)) / fps, frames)

    output = picture.output("pipe:", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
    run = Run(media.path, _beside(opened, output, f"a:{media.default_track}" if other else None))
    return Reading(run, media, media.video, Unit(height * width * 3, fps, batch), build)


def _samples(block: NDArray[np.uint8], _: int) -> NDArray[np.float32]:
    samples = block.view(np.float32)
    # Lossy codecs overshoot a little, and float samples may be anything.
    return np.clip(np.nan_to_num(samples, copy=False), -1, 1, out=samples)


def _beside(opened: Any, output: Any, other: str | None) -> Any:
    """The output with the other stream copied to nowhere: FFmpeg then puts a clock that restarts right for both."""
    if other is None:
        return output
    import ffmpeg

    return ffmpeg.merge_outputs(
        output, ffmpeg.output(opened[other], "-", format="null", codec="copy", bsf="setts=ts=N")
    )


def _input(media: Media, stream: AudioStream | VideoStream) -> Any:
    # FFmpeg 9 with more than one Theora thread gives wrong colours about once in a hundred runs.
    # A picture that changes its size or format must not begin a new filter, whose clock would begin anew.
    reinit = {"reinit_filter": 0} if isinstance(stream, VideoStream) else {}
    return source(media.path, threads=1 if stream.codec == "theora" else THREADS, **reinit)


def _shift(
    media: Media, stream: AudioStream | VideoStream, name: str, other: AudioStream | VideoStream | None
) -> float:
    """Seconds that FFmpeg brings the stream too early; added by a filter, as 5.1 adds `-itsoffset` twice here."""
    first = min(stream.start, other.start) if other else stream.start
    late = first > 0 and media.container in RESTARTED_CLOCKS
    return first if late and first_packet(media.path, name) < stream.start / 2 else 0.0
