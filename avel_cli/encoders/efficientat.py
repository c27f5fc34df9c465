"""EfficientAT: AudioSet taggers of F. Schmid, K. Koutini and G. Widmer (ICASSP 2023), MIT licence.

MobileNetV3-Large (Howard et al. 2019) at several widths on log-mel pictures, taught by transformers: 527 scores of
AudioSet's classes, and the features before the classifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.mel import LogMel

RATE = 32000
CLASSES = 527
EPSILON = 1e-3


class Block(NamedTuple):
    """One inverted residual of MobileNetV3-Large at width 1 (Howard et al., table 1)."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    hard_swish: bool
    stride: int


STEM = 16
BLOCKS = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
HIDDEN = 1280


def divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8 and at least nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, EPSILON, momentum=0.01))


class SqueezeExcitation(nn.Module):
    """Channels weighted by what all positions say of them; a quarter of the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = divisible(channels // 4)
        self.reduce, self.restore = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to the same shape."""
        gates = self.restore(F.relu(self.reduce(x.mean(dim=(2, 3))))).sigmoid()
        weighted: Tensor = x * gates[:, :, None, None]
        return weighted


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-excitation, linear projection; a shortcut where shapes agree."""

    def __init__(self, inputs: int, block: Block, width: float) -> None:
        super().__init__()
        inner, outputs = divisible(block.expanded * width), divisible(block.channels * width)
        self.expand = _conv_norm(inputs, inner) if inner != inputs else None
        self.depthwise = _conv_norm(inner, inner, block.kernel, block.stride, groups=inner)
        self.squeeze = SqueezeExcitation(inner) if block.squeeze else None
        self.project = _conv_norm(inner, outputs)
        self.activation = nn.Hardswish() if block.hard_swish else nn.ReLU()
        self.shortcut = block.stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C', H / stride, W / stride]`."""
        inner = x if self.expand is None else self.activation(self.expand(x))
        inner = self.activation(self.depthwise(inner))
        if self.squeeze is not None:
            inner = self.squeeze(inner)
        projected: Tensor = self.project(inner)
        return x + projected if self.shortcut else projected


@dataclass(frozen=True)
class EfficientATConfig:
    """Width of the network, and the sound that a feature hears.

    Attributes:
        width: multiple of MobileNetV3-Large's channels; 0.4 for mn04.
        seconds: length of a window; the networks were trained on 10 s and hear shorter ones as well.
    """

    width: float = 0.4
    seconds: int = 2


class EfficientAT(Encoder):
    """Windows of sound to pooled features, of which `tag` makes 527 AudioSet logits.

    A feature belongs to one second and hears half of what lies beyond it on either side: 2 s by default.
    """

    Config = EfficientATConfig
    config: EfficientATConfig
    modality = "sound"
    together = 8

    def __init__(self, config: EfficientATConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = self.stride = RATE
        self.window = config.seconds * RATE
        self.context = (self.window - self.stride) // 2
        self.mel = LogMel(128, 320)
        inputs = divisible(STEM * config.width)
        self.stem = _conv_norm(1, inputs, 3, 2)
        blocks = []
        for block in BLOCKS:
            blocks.append(InvertedResidual(inputs, block, config.width))
            inputs = divisible(block.channels * config.width)
        self.blocks = nn.Sequential(*blocks)
        self.last = _conv_norm(inputs, 6 * inputs)
        self.shape = (6 * inputs,)
        hidden = divisible(HIDDEN * config.width)
        self.hidden, self.classifier = nn.Linear(6 * inputs, hidden), nn.Linear(hidden, CLASSES)

    def forward(self, waves: Tensor) -> Tensor:
        """Features `[N, D]` of waves `[N, samples]`, float32 in -1..1 at 32 kHz."""
        return self.embed(self.mel(waves))

    def embed(self, pictures: Tensor) -> Tensor:
        """Features `[N, D]` of log-mel pictures `[N, 128, frames]`."""
        maps = self.blocks(F.hardswish(self.stem(pictures.unsqueeze(1))))
        return F.hardswish(self.last(maps)).mean(dim=(2, 3))

    def encode(self, windows: Tensor) -> Tensor:
        """The features of each window."""
        features: Tensor = self(windows)
        return features

    def tag(self, features: Tensor) -> Tensor:
        """Logits `[..., 527]` of AudioSet's classes from features `[..., D]`."""
        logits: Tensor = self.classifier(F.hardswish(self.hidden(features)))
        return logits

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From a file of the authors' release."""
        (state,) = states
        named = dict(_names(state))
        parts = {name: name.rpartition(".") for name in state}
        return {f"{named[owner]}.{leaf}": state[name] for name, (owner, _, leaf) in parts.items() if owner in named}


def _names(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of their name of a layer and ours; a block without expansion has one part less."""
    for layer in range(2):
        yield f"features.0.{layer}", f"stem.{layer}"
        yield f"features.{len(BLOCKS) + 1}.{layer}", f"last.{layer}"
    yield from (("classifier.2", "hidden"), ("classifier.5", "classifier"))
    for index, block in enumerate(BLOCKS):
        theirs, ours = f"features.{index + 1}.block", f"blocks.{index}"
        parts = ["depthwise", *(["squeeze"] if block.squeeze else []), "project"]
        if f"{theirs}.{len(parts)}.0.weight" in state:
            parts.insert(0, "expand")
        for number, part in enumerate(parts):
            if part == "squeeze":
                yield f"{theirs}.{number}.conc_se_layers.0.fc1", f"{ours}.squeeze.reduce"
                yield f"{theirs}.{number}.conc_se_layers.0.fc2", f"{ours}.squeeze.restore"
            else:
                yield from ((f"{theirs}.{number}.{layer}", f"{ours}.{part}.{layer}") for layer in range(2))
