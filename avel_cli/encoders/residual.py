"""The small residual trunk that both starter encoders are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A bias-free convolution followed by batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, the basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm(inputs, outputs, stride=stride)
        self.second = conv_norm(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C', H/stride, W/stride]`."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResidualTrunk(nn.Module):
    """A stem and seven residual blocks in four stages: stride 16, `embedding` non-negative channels out."""

    def __init__(self, channels: int, width: int, embedding: int) -> None:
        super().__init__()
        self.stem = conv_norm(channels, width, stride=2)
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        strides = [1, 2, 1, 2, 1, 2, 1]
        pairs = zip(widths, widths[1:], strides, strict=False)
        self.blocks = nn.Sequential(*[ResidualBlock(i, o, s) for i, o, s in pairs])
        self.embed = conv_norm(widths[-1], embedding, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, channels, H, W]` to `[N, embedding, H/16, W/16]`, every value at least 0."""
        return F.relu(self.embed(self.blocks(F.relu(self.stem(x)))))
