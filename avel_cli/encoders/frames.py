"""Frames at the size that published networks were fed: resized as Pillow or OpenCV do, and cut from the middle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(frames: Tensor, height: int, width: int, *, antialias: bool) -> Tensor:
    """Frames uint8 `[n, H, W, 3]` bilinearly at another size: uint8 `[n, 3, height, width]`.

    Within a grey level of Pillow with `antialias`, and of OpenCV without it (reference: encoders §4).
    """
    pixels = frames.permute(0, 3, 1, 2).float()
    if antialias:  # Pillow goes over rows first and rounds in between: without this 1 value in 5 is another
        pixels = F.interpolate(pixels, (frames.shape[1], width), mode="bilinear", antialias=True).round()
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=antialias)
    return pixels.round().to(torch.uint8)


def centre_crop(pixels: Tensor, size: int) -> Tensor:
    """The middle `[..., size, size]` of `[..., H, W]`; where it cannot be exact, nearer to the top left."""
    top, left = ((length - size) // 2 for length in pixels.shape[-2:])
    return pixels[..., top : top + size, left : left + size]
