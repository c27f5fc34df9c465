"""What a page draws beside the events of a film: waveform, log-mel spectrogram and thumbnails."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avel_cli.media import Media, read_audio, read_frames

SAMPLE_RATE = 16_000
WINDOW = 512  # samples of a spectrum
MELS = 48
MOST_COLUMNS = 1500
COLUMNS_A_SECOND = 20
MOST_THUMBNAILS = 30
THUMBNAIL_HEIGHT = 72
FLOOR = 80.0  # decibels below the loudest that are black

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Strips:
    """Drawn over the whole length of a film.

    Attributes:
        peaks: lowest and highest sample of each column, in percent; empty without sound.
        mel: a picture with a row a mel band, the lowest at the bottom, as a data URI; empty without sound.
        thumbnails: pictures at even distances, as data URIs; empty without pictures.
    """

    peaks: tuple[tuple[int, int], ...] = ()
    mel: str = ""
    thumbnails: tuple[str, ...] = ()


def draw(media: Media, track: int | None = None) -> Strips:
    """The strips of a film; a stream that is not there leaves its strips empty.

    Args:
        media: the probed file.
        track: which sound, counted from 0; None takes the container's default.

    Raises:
        InputError: if the file cannot be decoded.
    """
    sound = _sound(media, track) if media.audio else ((), "")
    return Strips(*sound, thumbnails=tuple(_thumbnails(media)) if media.video else ())


def _sound(media: Media, track: int | None) -> tuple[tuple[tuple[int, int], ...], str]:
    count = max(1, min(MOST_COLUMNS, math.ceil(media.duration * COLUMNS_A_SECOND)))
    width = max(WINDOW, round(media.duration * SAMPLE_RATE / count))  # samples of a column
    peaks, spectra = [], []
    for column in _columns(read_audio(media, SAMPLE_RATE, track=track), width):
        peaks.append((round(100 * float(column.min())), round(100 * float(column.max()))))
        spectra.append(_spectrum(column))
    silent = math.ceil(media.duration * SAMPLE_RATE / width) - len(peaks)  # sound may end before the pictures
    peaks += [(0, 0)] * silent
    spectra += [np.zeros(MELS)] * silent
    return tuple(peaks), _mel_picture(np.array(spectra))


def _columns(blocks: Any, width: int) -> Iterator[Floats]:
    """The sound in parts of `width` samples; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= width:
            yield rest[:width]
            rest = rest[width:]
    if len(rest):
        yield rest


def _spectrum(column: Floats) -> NDArray[np.float64]:
    """Mean power in each mel band, `[MELS]`, of at most eight windows of the column."""
    padded = np.pad(column, (0, max(0, WINDOW - len(column))))
    starts = np.linspace(0, len(padded) - WINDOW, num=min(8, len(padded) // WINDOW), dtype=int)
    windows = np.stack([padded[start : start + WINDOW] for start in starts]) * np.hanning(WINDOW)
    power: NDArray[np.float64] = (np.abs(np.fft.rfft(windows)) ** 2).mean(axis=0)
    return np.asarray(_BANDS @ power)


def _bands() -> NDArray[np.float64]:
    """Triangles on the mel scale (2595 log10(1 + f / 700)), `[MELS, WINDOW // 2 + 1]`."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling))
    empty = triangles.sum(axis=1) == 0  # narrower than a bin: take the nearest
    triangles[empty, np.abs(frequencies - middle[empty]).argmin(axis=1)] = 1
    return np.asarray(triangles)


_BANDS = _bands()


def _mel_picture(spectra: NDArray[np.float64]) -> str:
    decibels = 10 * np.log10(np.maximum(spectra.T[::-1], 1e-10))
    above = (decibels - decibels.max() + FLOOR) / FLOOR
    return _data_uri(np.round(255 * above.clip(0, 1)).astype(np.uint8), "png")


def _thumbnails(media: Media) -> Iterator[str]:
    assert media.video
    height, width = media.video.upright_size
    size = THUMBNAIL_HEIGHT, max(16, min(4 * THUMBNAIL_HEIGHT, round(width * THUMBNAIL_HEIGHT / height)))
    count = max(1, min(MOST_THUMBNAILS, math.ceil(media.video.end)))
    for batch in read_frames(media, count / media.video.end, size, batch=1):
        yield _data_uri(batch.frames[0], "jpeg", quality=70)


def _data_uri(pixels: NDArray[np.uint8], kind: str, **settings: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **settings)
    return f"data:image/{kind};base64,{b64encode(stream.getvalue()).decode()}"
