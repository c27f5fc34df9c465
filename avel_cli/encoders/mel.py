"""Log-mel pictures of sound with Kaldi's mel bands, for the encoders that hear at 32 kHz."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mel_banks(bands: int, n_fft: int, sample_rate: int, low: float, high: float) -> Tensor:
    """Kaldi's triangular mel filters, float32 `[bands, n_fft // 2 + 1]`; the column of the Nyquist frequency is zero.

    Triangles are straight on the mel scale `1127 ln(1 + f / 700)`, their peaks 1, as in `torchaudio.compliance.kaldi`.

    Args:
        bands: number of filters.
        n_fft: length of the transform in samples.
        sample_rate: samples a second.
        low: lower edge of the first filter in Hz.
        high: upper edge of the last filter in Hz.
    """

    def mel(frequency: float) -> float:
        return 1127.0 * math.log(1.0 + frequency / 700.0)

    step = (mel(high) - mel(low)) / (bands + 1)
    left = mel(low) + step * torch.arange(bands).unsqueeze(1)
    bins = 1127.0 * (1.0 + sample_rate / n_fft * torch.arange(n_fft // 2) / 700.0).log()
    rise, fall = (bins - left) / step, (left + 2 * step - bins) / step
    return F.pad(torch.minimum(rise, fall).clamp(min=0), (0, 1))


class LogMel(nn.Module):
    """Log power in mel bands, as EfficientAT computes it (`AugmentMelSTFT` in evaluation).

    Pre-emphasis `y[t] = x[t+1] - 0.97 x[t]`, centred STFT with a symmetric Hann window, power, Kaldi mel bands,
    `log(x + 1e-5)`, then `(x + 4.5) / 5`.
    """

    window: Tensor
    banks: Tensor

    def __init__(
        self,
        bands: int,
        hop: int,
        *,
        sample_rate: int = 32000,
        n_fft: int = 1024,
        window: int = 800,
        high: float = 15000,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(window, periodic=False), persistent=False)
        self.register_buffer("banks", mel_banks(bands, n_fft, sample_rate, 0.0, high), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Pictures `[N, bands, 1 + (samples - 1) // hop]` of waves `[N, samples]`, float32 in -1..1."""
        return self.pictures(self.power(waves))

    def power(self, waves: Tensor) -> Tensor:
        """Power `[N, n_fft // 2 + 1, frames]` of the pre-emphasized waves `[N, samples]`."""
        with torch.autocast(waves.device.type, enabled=False):  # powers of quiet sound need the precision
            emphasized = waves[:, 1:] - 0.97 * waves[:, :-1]
            spectrum = torch.stft(
                emphasized, self.n_fft, self.hop, len(self.window), self.window, center=True, return_complex=True
            )
            return spectrum.real.square() + spectrum.imag.square()

    def pictures(self, power: Tensor) -> Tensor:
        """Pictures `[N, bands, frames]` of what `power` returns."""
        with torch.autocast(power.device.type, enabled=False):
            return ((self.banks @ power + 1e-5).log() + 4.5) / 5.0
