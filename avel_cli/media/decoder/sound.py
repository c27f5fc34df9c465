"""Sound of a file: one track, mixed to mono, at one rate, each sample at its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from avel_cli.media.decoder.source import Source

SLACK = 0.04
"""Seconds that a frame may lie off its place before it is moved there; containers round, and recorders jitter."""
CANCELLED = 10**-1.5
"""Power of a mix, beside that of its loudest channel, below which its channels cancel: -15 dB."""
LISTEN = 20.0
"""Seconds of a sound that is not silent after which it is known whether channels cancel."""
SILENCE = 1e-4  # root mean square, full scale 1

Samples = NDArray[np.float32]


def channels(frame: Any) -> Samples:
    """Samples of a frame, float32 `[channels, samples]`, full scale 1; what is no number is 0."""
    data: NDArray[Any] = frame.to_ndarray()
    if frame.format.is_packed:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype.kind == "u":
        return np.asarray((data.astype(np.float32) - 128) / 128)
    if data.dtype.kind == "i":
        return np.asarray(data.astype(np.float32) / np.float32(-float(np.iinfo(data.dtype).min)))
    return np.asarray(np.nan_to_num(data.astype(np.float32), copy=False, posinf=1.0, neginf=-1.0))


def loudest(source: Source, index: int) -> tuple[int | None, float]:
    """Which channel to listen to alone because the mix of all is 15 dB below it, and the decibels between them.

    None if the mix will do. Sound is listened to until so much of it was not silent that it is known.
    """
    mix, each, seconds = 0.0, np.zeros(0), 0.0
    for _, frame in source.frames(index):
        if frame is None:
            continue
        samples = channels(frame)
        if len(samples) != len(each):
            if each.any():
                break
            each = np.zeros(len(samples))
        powers = samples.astype(np.float64) ** 2
        each += powers.sum(1)
        mix += float((samples.mean(0, dtype=np.float64) ** 2).sum())
        if powers.max(initial=0) > SILENCE**2:
            seconds += frame.samples / frame.sample_rate
        if len(each) < 2 or seconds > LISTEN:
            break
    if len(each) < 2 or mix >= CANCELLED * each.max():
        return None, 0.0
    return int(each.argmax()), 10 * float(np.log10(each.max() / max(mix, 1e-12 * each.max())))


def first_that_sounds(source: Source, tracks: Iterable[int]) -> int | None:
    """The first of these streams, in their order, that is not silent throughout; None if all are.

    The file is read as far as the first of them is silent.
    """
    wanted = list(tracks)
    heard: set[int] = set()
    for packet in source.packets():
        index = packet.stream_index
        if index not in wanted or index in heard or not packet.size:
            continue
        for frame in source.decoded(index, packet):
            if np.sqrt((channels(frame) ** 2).mean(1)).max(initial=0) > SILENCE:
                heard.add(index)
        if wanted[0] in heard:
            break
    return next((index for index in wanted if index in heard), None)


class Track:
    """Lays samples at their times: gaps become silence, overlaps are cut; time 0 is the first sample written.

    Args:
        rate: to be written, in Hz.
        channel: to listen to alone; None takes the mean of all.
        write: takes bytes of float32 samples.
    """

    def __init__(self, rate: int, channel: int | None, write: Callable[[bytes], None]) -> None:
        self._rate, self._channel, self._write = rate, channel, write
        self._written = 0
        self._resampler: Any = None
        self._given = 0  # the rate of what is laid now
        self._since, self._laid = 0.0, 0  # when the samples at this rate began, and how many there are
        self._kept: list[Samples] = []
        self._waiting = 0  # samples in `_kept`

    @property
    def due(self) -> float:
        """When the next sample sounds if nothing lies between."""
        return self._since + self._laid / self._given if self._given else 0.0

    def add(self, time: float | None, samples: Samples, rate: int) -> None:
        """Lay samples float32 `[channels, n]` that sound from `time` on, in seconds; None follows what there is."""
        if rate != self._given:
            self._begin(rate)
        first = not self._laid
        gap = 0.0 if time is None else time - self.due
        if gap > 0 and (first or gap > SLACK):
            self._silence(round(gap * rate))
        elif gap < 0 and (first or gap < -SLACK):
            samples = samples[:, min(samples.shape[1], round(-gap * rate)) :]
        self._keep(self._mono(samples))

    def silence_until(self, time: float) -> None:
        """Lay silence up to `time`, in seconds, if there is nothing so far."""
        if not self._given:
            self._begin(self._rate)
        self._silence(round((time - self.due) * self._given))

    def end(self) -> None:
        """Write what is still held back."""
        self._flush()
        if self._resampler is not None:
            self._resampled(None)

    def _mono(self, samples: Samples) -> Samples:
        alone = 0 if len(samples) == 1 else self._channel
        if alone is None or alone >= len(samples):  # the number of channels has changed
            return np.asarray(samples.mean(0, dtype=np.float32))
        return np.asarray(samples[alone])

    def _begin(self, rate: int) -> None:
        self.end()
        self._since, self._laid, self._given = self._written / self._rate, 0, rate
        self._resampler = AudioResampler("flt", "mono", self._rate) if rate != self._rate else None

    def _silence(self, count: int) -> None:
        for done in range(0, count, self._given):
            self._keep(np.zeros(min(self._given, count - done), np.float32))

    def _keep(self, mono: Samples) -> None:
        self._kept.append(mono)
        self._laid += len(mono)
        self._waiting += len(mono)
        if self._waiting >= self._given:  # a second
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        mono = np.concatenate(self._kept)
        self._kept, self._waiting = [], 0
        if self._resampler is None:
            self._out(mono)
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono)[None], "flt", "mono")
        frame.sample_rate = self._given
        self._resampled(frame)

    def _resampled(self, frame: Any) -> None:
        for part in self._resampler.resample(frame):
            self._out(part.to_ndarray()[0])

    def _out(self, mono: Samples) -> None:
        self._written += len(mono)
        self._write(mono.tobytes())


def write_sound(source: Source, job: dict[str, Any], write: Callable[[bytes], None]) -> None:
    """Write a track as mono float32.

    Args:
        source: the file.
        job: `index` of the stream, `sample_rate`, `begin` and `until` in seconds since the container's start, and the
            `channel` to listen to alone, None for the mean of all.
        write: takes bytes.
    """
    track = Track(job["sample_rate"], job["channel"], write)
    until = math.inf if job["until"] is None else job["until"]
    source.seek(job["begin"])
    for time, frame in source.frames(job["index"]):
        if time is not None and time >= until:
            track.silence_until(until - job["begin"])
            break
        if frame is None:
            continue
        track.add(None if time is None else time - job["begin"], channels(frame), frame.sample_rate)
    track.end()
