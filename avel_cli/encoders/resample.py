"""Sound brought to another rate by the filter that published sound features were made with, block by block.

The filter is resampy's `kaiser_best` as it was up to version 0.2. Later versions of it, and the defaults of other
resamplers, change the highest mel bands visibly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torchaudio.transforms import Resample

ZERO_CROSSINGS = 64
ROLLOFF = 0.9475937167399596
BETA = 14.769656459379492
AT_ONCE = 10  # seconds that are filtered in one go at most

COMMON_RATE = 44100
SMALLEST_DIVISOR = 25  # that a rate must share with 16 kHz; below, the filter has thousands of phases


def standard_rate(rate: int) -> int:
    """Samples a second at which FFmpeg should deliver sound whose own rate is `rate`.

    That rate itself wherever the filter to 16 and 32 kHz stays small, as for all usual ones, else 44100.
    """
    return rate if math.gcd(rate, 16000) >= SMALLEST_DIVISOR else COMMON_RATE


class KaiserResampler:
    """Turns a stream from `rate_in` to `rate_out` samples a second.

    The filter repeats after `rate_in / gcd` samples of input, which give `rate_out / gcd` samples of output. Whatever
    is kept of the past is a multiple of that period, so that every block meets the filter in the same phase.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        divisor = math.gcd(rate_in, rate_out)
        self.period_in, self.period_out = rate_in // divisor, rate_out // divisor
        self.filter = Resample(rate_in, rate_out, "sinc_interp_kaiser", ZERO_CROSSINGS, ROLLOFF, beta=BETA)
        reach = ZERO_CROSSINGS / ROLLOFF * max(1.0, self.period_in / self.period_out)  # samples to either side
        self.context = math.ceil(reach / self.period_in) * self.period_in
        self.least = math.ceil(rate_in / self.period_in) * self.period_in
        self.held = torch.zeros(0)
        self.done = 0  # samples at the beginning of `held` that are only there as the past of those after them

    def push(self, samples: Tensor) -> Tensor:
        """The output `[m]` that `samples`, float32 `[n]`, make possible; nothing until about a second is waiting."""
        self.held = torch.cat((self.held, samples))
        ready = (len(self.held) - self.context) // self.period_in * self.period_in
        if ready - self.done < self.least:
            return self.held[:0]
        output = self._filtered(self.held[: ready + self.context])[: self._length(ready - self.done)]
        keep = min(self.context, ready)
        self.held, self.done = self.held[ready - keep :].clone(), keep
        return output

    def finish(self) -> Tensor:
        """The rest of the output, with silence after the last sample; in all `ceil(n * rate_out / rate_in)` samples."""
        return self._filtered(self.held) if len(self.held) else self.held

    def _filtered(self, samples: Tensor) -> Tensor:
        output: Tensor = self.filter(samples)
        return output[self._length(self.done) :]

    def _length(self, samples: int) -> int:
        """Output samples of so many samples, a multiple of the period."""
        return samples // self.period_in * self.period_out


def resampled(blocks: Iterable[Tensor], rate_in: int, rate_out: int) -> Iterator[Tensor]:
    """The sound in `blocks`, float32 `[n]` of any lengths, at `rate_out` in blocks of other lengths.

    One after the other they are what resampling all at once gives. A few seconds are held at a time. Sound that has
    the rate already passes through as it is.
    """
    if rate_in == rate_out:
        yield from blocks
        return
    resampler = KaiserResampler(rate_in, rate_out)
    for block in blocks:
        for part in block.split(AT_ONCE * rate_in):
            yield resampler.push(part)
    yield resampler.finish()
