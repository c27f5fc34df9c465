"""Random changes of pictures and sounds, batched, each drawn from a generator that the caller seeds.

They exist to take away what gives a class away in the starter packs (resolution, catalogue backgrounds, dry notes,
one recording chain each) and to put in what real clips have (blur, re-compression, rooms, noise, bad microphones).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torchvision.io import decode_jpeg, encode_jpeg


def _uniform(shape: tuple[int, ...], low: float, high: float, rng: Generator) -> Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


# Pictures: float [N, 3, H, W] in 0..1 unless said otherwise


def crop(pictures: Tensor, size: int, rng: Generator, scale: tuple[float, float] = (0.35, 1.0)) -> Tensor:
    """Random crops with random aspect and flip: uint8 or float `[N, 3, H, W]` to float `[N, 3, size, size]` in 0..1."""
    count = len(pictures)
    side = _uniform((count,), *scale, rng).sqrt()
    aspect = _uniform((count,), -0.35, 0.35, rng).exp()
    half_x, half_y = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = half_x * (torch.randint(0, 2, (count,), generator=rng) * 2 - 1)
    theta[:, 1, 1] = half_y
    theta[:, 0, 2] = _uniform((count,), -1, 1, rng) * (1 - half_x)
    theta[:, 1, 2] = _uniform((count,), -1, 1, rng) * (1 - half_y)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    floats = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
    return F.grid_sample(floats, grid, padding_mode="reflection", align_corners=False)


def colour(pictures: Tensor, rng: Generator, strength: float = 0.4) -> Tensor:
    """Brightness, contrast, saturation and a cast of colour, each by up to `strength`."""
    count = len(pictures)

    def factor(*shape: int) -> Tensor:
        return _uniform((count, *shape), 1 - strength, 1 + strength, rng)

    pictures = pictures * factor(1, 1, 1)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = (pictures - mean) * factor(1, 1, 1) + mean
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = (pictures - grey) * _uniform((count, 1, 1, 1), 0.0, 1 + strength, rng) + grey
    cast = 1 + (factor(3, 1, 1) - 1) * 0.3
    return (pictures * cast).clamp(0, 1)


def degrade(pictures: Tensor, rng: Generator, together: bool = False) -> Tensor:
    """For half of the pictures a loss of resolution, for a third JPEG compression; `together`: all or none alike."""
    size = pictures.shape[-1]
    parts = [pictures] if together else [picture.unsqueeze(0) for picture in pictures]
    for index, part in enumerate(parts):
        if torch.rand(1, generator=rng) < 0.5:
            small = int(_uniform((1,), 0.3, 0.8, rng) * size)
            shrunk = F.interpolate(part, (small, small), mode="bilinear", antialias=True)
            part = F.interpolate(shrunk, (size, size), mode="bilinear")
        if torch.rand(1, generator=rng) < 0.35:
            quality = int(torch.randint(15, 75, (1,), generator=rng))
            packed = [encode_jpeg((picture * 255).to(torch.uint8), quality) for picture in part]
            part = torch.stack([decode_jpeg(data) for data in packed]).float() / 255
        parts[index] = part
    return torch.cat(parts)


def on_scene(pictures: Tensor, scenes: Tensor, rng: Generator, smallest: float = 0.45) -> Tensor:
    """Put pictures into scenes `[N, 3, H, W]`: white catalogue backgrounds show the scene, others are pasted small.

    A picture whose border is nearly white is multiplied onto the scene; any other keeps its rectangle. It takes
    `smallest` to 1 of each side.
    """
    count, _, height, width = pictures.shape
    border = torch.cat([pictures[..., 0, :], pictures[..., -1, :], pictures[..., :, 0], pictures[..., :, -1]], dim=-1)
    white = (border.mean(dim=(1, 2)) > 0.92).view(-1, 1, 1, 1)
    scale = 1 / _uniform((count,), smallest, 1.0, rng)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale, scale
    theta[:, :, 2] = _uniform((count, 2), -1, 1, rng) * (scale - 1).unsqueeze(1)
    grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
    ones = torch.ones(count, 1, height, width)
    layers = F.grid_sample(torch.cat([pictures, ones], dim=1), grid, align_corners=False)
    placed, inside = layers[:, :3], layers[:, 3:]
    multiplied = scenes * (placed + (1 - inside)).clamp(0, 1)
    return torch.where(white, multiplied, placed + scenes * (1 - inside))


# Sounds: float [N, samples]


def sustained(wave: Tensor, samples: int, sample_rate: int, rng: Generator) -> Tensor:
    """`[samples]` of a sound that goes on: what is audible of the wave, from anywhere in it, over and over.

    It begins where the sound is loud; of silences only the 0.4 s next to a sound stay, and joins fade.
    """
    hop = sample_rate // 20
    frames = F.pad(wave, (0, -len(wave) % hop)).view(-1, hop)
    power = frames.pow(2).mean(1)
    loud = power >= power.max() * 10 ** (-20 / 10)
    near = F.max_pool1d(loud.float().unsqueeze(0), 17, 1, 8)[0] > 0
    kept = frames[near].flatten()
    ramp = torch.linspace(0, 1, hop // 2)
    kept[: hop // 2] *= ramp
    kept[-(hop // 2) :] *= ramp.flip(0)
    starts = loud[near].nonzero()[:, 0] * hop
    start = int(starts[torch.randint(len(starts), (1,), generator=rng)])
    return kept.repeat((start + samples) // len(kept) + 1)[start : start + samples]


def level(waves: Tensor, rms_db: Tensor) -> Tensor:
    """The waves scaled to a root mean square of `rms_db` `[N]` below full scale."""
    rms = waves.pow(2).mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
    return waves / rms * 10 ** (rms_db.unsqueeze(1) / 20)


def room_and_microphone(waves: Tensor, sample_rate: int, rng: Generator, together: bool = False) -> Tensor:
    """Reverberation, a random smooth equalisation with a tilt, and for a third a narrow band, in one FFT.

    Each wave has its own room and microphone; `together`, all have the same.
    """
    samples = waves.shape[1]
    count = 1 if together else len(waves)
    size = 2 * samples
    time = torch.arange(samples) / sample_rate
    decay = _uniform((count, 1), 0.05, 0.6, rng)
    tail = torch.randn(count, samples, generator=rng) * torch.exp(-6.9 * time / decay)
    tail = tail / tail.pow(2).sum(1, keepdim=True).sqrt() * _uniform((count, 1), 0.0, 0.8, rng)
    tail = tail * (torch.rand(count, 1, generator=rng) < 0.6)
    tail[:, 0] = 1.0
    frequencies = torch.linspace(0, sample_rate / 2, size // 2 + 1)
    octaves = torch.log2(frequencies.clamp(min=60) / 1000)
    tilt = _uniform((count, 1), -3.5, 3.5, rng) * octaves
    knots = F.interpolate(torch.randn(count, 1, 8, generator=rng) * 3, len(frequencies), mode="linear")[:, 0]
    edge = torch.where(torch.rand(count, 1, generator=rng) < 0.35, _uniform((count, 1), 2500, 7500, rng), 1e9)
    cut = -12 * torch.log2((frequencies / edge).clamp(min=1)) * 2
    gain = 10 ** ((tilt + knots + cut) / 20)
    spectrum = torch.fft.rfft(waves, size) * torch.fft.rfft(tail, size) * gain
    changed: Tensor = torch.fft.irfft(spectrum, size)[:, :samples]
    return changed


def mix(waves: Tensor, others: Tensor, snr_db: Tensor) -> Tensor:
    """`waves` with `others` under them at `snr_db` `[N]` (may be negative)."""
    own = waves.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-6)
    other = others.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-6)
    return waves + others * (own / other) * 10 ** (-snr_db.unsqueeze(1) / 20)


def mask_spectrogram(pictures: Tensor, rng: Generator, bands: int = 10, frames: int = 20) -> Tensor:
    """SpecAugment (Park et al. 2019) on `[N, 1, mels, frames]`: one band and one stretch of time set to the mean 0."""
    count, _, height, width = pictures.shape
    for axis, most, length in ((2, bands, height), (3, frames, width)):
        extent = torch.randint(0, most + 1, (count, 1), generator=rng)
        begin = (torch.rand(count, 1, generator=rng) * (length - extent)).long()
        index = torch.arange(length).unsqueeze(0)
        hidden = (index >= begin) & (index < begin + extent)
        shape = (count, 1, length, 1) if axis == 2 else (count, 1, 1, length)
        pictures = pictures.masked_fill(hidden.view(shape).to(pictures.device), 0.0)
    return pictures
