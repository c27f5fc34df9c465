"""Features of a file as they come out of the decoder: each unit prepared once, cut into windows, encoded.

Memory stays flat however long the file is: a few windows of prepared units, and one block of decoded ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.resample import resampled, standard_rate
from avel_cli.media.decode import Reading, read_audio, read_frames
from avel_cli.media.probe import Media

SILENCE = 1e-4  # root mean square of a window, full scale 1: -80 dB, below the noise of any microphone
COVERED = 0.1  # part of a window that a stream must fill for something to be seen or heard in it
BLOCK_BYTES = 24 << 20  # of frames that are decoded at once
BLOCK_SECONDS = 10  # of sound

Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Features(NamedTuple):
    """Consecutive features float32 `[n, ...]`, and whether something could be heard or seen in each, bool `[n]`."""

    values: Tensor
    present: NDArray[np.bool_]


class FeatureStream(Iterator[Features]):
    """The first `count` features of a file, `together` at a time.

    What lies after the end of a stream is silence, or its last picture held; a window that a stream fills less than a
    tenth of is not present, and neither is silence, nor what a late video shows before it begins.

    Args:
        media: the probed file, or a selection of it; it must have a stream of the encoder's modality.
        encoder: on its device, in evaluation mode.
        count: how many features; see `Encoder.count`.
        together: how many a step gives; the last one may give fewer.
        precision: of the encoder's arithmetic; features are float32 all the same.
        pace: see `read_frames`.

    Raises:
        MediaError: the stream is missing (at once), or none of it can be decoded (when iterated).
    """

    def __init__(
        self,
        media: Media,
        encoder: Encoder,
        count: int,
        *,
        together: int = 10,
        precision: Precision = "fp32",
        pace: float | None = None,
    ) -> None:
        self.encoder, self.count, self.together = encoder, count, together
        self._device = next(encoder.parameters()).device
        self._type = TYPES.get(precision)
        self._span = max(encoder.window, encoder.stride)  # a stride may be longer than the window that it ends
        self._total = (count - 1) * encoder.stride + self._span  # units that take part
        self._decoded = 0
        self._starts = media.video.start if media.video and encoder.modality == "picture" else 0.0
        self._reading, self._blocks = _decoded(media, encoder, pace)
        self._steps = self._encoded()

    def __next__(self) -> Features:
        return next(self._steps)

    def close(self) -> None:
        """End the decoder's process; nothing more will come."""
        self._steps.close()
        self._reading.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this decode, one line each; complete once the iteration is over."""
        return self._reading.warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user, one line each; complete once the iteration is over."""
        return self._reading.notes

    @torch.inference_mode()
    def _encoded(self) -> Generator[Features, None, None]:
        first = 0
        kept: list[Tensor] = []  # prepared units from the first one of feature `first` on
        for prepared in self._prepared():
            kept.append(prepared)
            ready = (sum(map(len, kept)) - self._span) // self.encoder.stride + 1
            while ready >= self.together or (ready > 0 and first + ready == self.count):
                units = torch.cat(kept)
                number = min(ready, self.together)
                yield self._features(units, first, number)
                kept = [units[number * self.encoder.stride :]]
                first, ready = first + number, ready - number
        deque(self._blocks, maxlen=0)  # only when nothing is left the decoder has said all

    def _features(self, units: Tensor, first: int, number: int) -> Features:
        encoder = self.encoder
        windows = units.unfold(0, encoder.window, encoder.stride)[:number].movedim(-1, 1)
        with self._autocast():
            values = torch.cat([encoder.encode(some) for some in windows.split(encoder.together)]).float()
        starts, own = np.arange(first, first + number) * encoder.stride, encoder.window - 2 * encoder.context
        present = np.clip((self._decoded - starts) / own, 0, 1) > COVERED
        present &= (starts + own) / encoder.rate - self._starts > COVERED * own / encoder.rate
        if encoder.modality == "sound":
            heard = windows[:, encoder.context : encoder.context + own]
            present &= (heard.float().pow(2).mean(1).sqrt() > SILENCE).cpu().numpy()
        return Features(values, present)

    def _prepared(self) -> Iterator[Tensor]:
        """What `encode` wants of each of the units that take part, in blocks of any length."""
        ahead, last = self.encoder.ahead, None
        for block in self._filled():
            units = block.to(self._device)
            units = torch.cat([last, units]) if ahead and last is not None else units
            last = units[len(units) - ahead :]
            if len(units) > ahead:
                with self._autocast():
                    yield self.encoder.prepare(units)

    def _filled(self) -> Iterator[Tensor]:
        """The decoded units, cut or filled up to as many as take part."""
        missing = self._total - self.encoder.context + self.encoder.ahead
        last = None
        if self.encoder.context:
            yield torch.zeros(self.encoder.context)
        for block in self._blocks:
            self._decoded += len(block)
            if len(block):
                last = block[-1:]
                yield block[:missing]
                missing -= min(missing, len(block))
            if not missing:
                return
        if last is None:
            return
        filling = torch.zeros_like(last) if self.encoder.modality == "sound" else last
        most = max(1, BLOCK_BYTES // (filling.numel() * filling.element_size()))
        for start in range(0, missing, most):
            yield filling.expand(min(most, missing - start), *filling.shape[1:])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._type, enabled=self._type is not None)


def _decoded(media: Media, encoder: Encoder, pace: float | None) -> tuple[Reading[Any], Iterator[Tensor]]:
    """The decoder, and the units that it gives at the encoder's rate."""
    if encoder.modality == "picture":
        height, width = encoder.size or (media.video.upright_size if media.video else (1, 1))
        batch = max(1, min(encoder.rate * BLOCK_SECONDS, BLOCK_BYTES // (height * width * 3)))
        pictures = read_frames(media, encoder.rate, encoder.size, batch=batch, pace=pace)
        return pictures, (torch.from_numpy(block.frames) for block in pictures)
    rate = encoder.rate
    if encoder.resampler == "kaiser" and media.default_track is not None:
        rate = standard_rate(media.audio[media.default_track].sample_rate)
    sound = read_audio(media, rate, block_seconds=BLOCK_SECONDS)
    return sound, resampled((torch.from_numpy(block) for block in sound), rate, encoder.rate)
