"""I3D (Carreira and Zisserman 2017) on frames and on RAFT's optical flow, as the UnAV-100 features were made.

Names of tensors are those of the published port to torch; where ports differ, the extractor of UnAV-100 is followed
(reference: encoders §7 and §8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.frames import centre_crop, resize
from avel_cli.encoders.names import Rules, renamed

SHORT_SIDE = 256
CROP = 224
MOST_FLOW = 20  # pixels; faster motion counts as this fast
PAIRS = 4  # of frames that RAFT sees at once
Size3 = tuple[int, int, int]

PIERGIAJ: Rules = (
    (r"^Conv3d_", "conv3d_"),
    (r"^Mixed_", "mixed_"),
    (r"^logits\.", "conv3d_0c_1x1."),
    (r"\.b0\.", ".branch_0."),
    (r"\.b([123])a\.", r".branch_\1.0."),
    (r"\.b([123])b\.", r".branch_\1.1."),
    (r"\.bn\.", ".batch3d."),
    (r"^", "network."),
)
PRINCETON: Rules = (
    (r"\.norm3\.", None),  # the norm of a shortcut, which is there under another name too
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder\.)conv1\.", r"\1convnormrelu.0."),
    (r"^(\w+_encoder\.)norm1\.", r"\1convnormrelu.1."),
    (r"^(\w+_encoder\.)conv2\.", r"\1conv."),
    (r"(\.layer\d\.\d\.)conv(\d)\.", r"\1convnormrelu\2.0."),
    (r"(\.layer\d\.\d\.)norm(\d)\.", r"\1convnormrelu\2.1."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
    (r"^", "raft."),
)


def padded(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """`[N, C, T, H, W]` with `kernel - stride` zeros on each axis, the odd one behind, whatever the size of `x`."""
    missing = [max(k - s, 0) for k, s in zip(kernel, stride, strict=True)]
    return F.pad(x, [n for m in reversed(missing) for n in (m // 2, m - m // 2)]) if any(missing) else x


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.batch3d = nn.BatchNorm3d(outputs)
        self.kernel: Size3 = (kernel,) * 3
        self.stride: Size3 = (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, T, H, W]` to `[N, C', T/stride, H/stride, W/stride]`, every value at least 0."""
        return F.relu(self.batch3d(self.conv3d(padded(x, self.kernel, self.stride))))


class MaxPool(nn.Module):
    """Largest value of each window; what the padding adds counts as 0."""

    def __init__(self, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, T, H, W]` to a size divided by the stride, rounded up."""
        return F.max_pool3d(padded(x, self.kernel, self.stride), self.kernel, self.stride, ceil_mode=True)


class Mixed(nn.Module):
    """Four branches side by side (Szegedy et al. 2015)."""

    def __init__(self, inputs: int, *widths: int) -> None:
        super().__init__()
        a, b, c, d, e, f = widths
        self.branch_0 = Unit(inputs, a)
        self.branch_1 = nn.Sequential(Unit(inputs, b), Unit(b, c, 3))
        self.branch_2 = nn.Sequential(Unit(inputs, d), Unit(d, e, 3))
        self.branch_3 = nn.Sequential(MaxPool((3, 3, 3), (1, 1, 1)), Unit(inputs, f))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, T, H, W]` to `[N, a + c + e + f, T, H, W]`."""
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


class InceptionI3D(nn.Module):
    """The Kinetics-400 network; its layers stand in the order in which they run.

    Args:
        channels: 3 for frames, 2 for flow.
        eps: of the batch normalisations. TensorFlow has 1e-3; the extractor of UnAV-100 had torch's 1e-5.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv3d_1a_7x7 = Unit(channels, 64, 7, 2)
        self.maxPool3d_2a_3x3 = MaxPool((1, 3, 3), (1, 2, 2))
        self.conv3d_2b_1x1 = Unit(64, 64)
        self.conv3d_2c_3x3 = Unit(64, 192, 3)
        self.maxPool3d_3a_3x3 = MaxPool((1, 3, 3), (1, 2, 2))
        self.mixed_3b = Mixed(192, 64, 96, 128, 16, 32, 32)
        self.mixed_3c = Mixed(256, 128, 128, 192, 32, 96, 64)
        self.maxPool3d_4a_3x3 = MaxPool((3, 3, 3), (2, 2, 2))
        self.mixed_4b = Mixed(480, 192, 96, 208, 16, 48, 64)
        self.mixed_4c = Mixed(512, 160, 112, 224, 24, 64, 64)
        self.mixed_4d = Mixed(512, 128, 128, 256, 24, 64, 64)
        self.mixed_4e = Mixed(512, 112, 144, 288, 32, 64, 64)
        self.mixed_4f = Mixed(528, 256, 160, 320, 32, 128, 128)
        self.maxPool3d_5a_2x2 = MaxPool((2, 2, 2), (2, 2, 2))
        self.mixed_5b = Mixed(832, 256, 160, 320, 32, 128, 128)
        self.mixed_5c = Mixed(832, 384, 192, 384, 48, 128, 128)
        self.conv3d_0c_1x1 = nn.ModuleDict({"conv3d": nn.Conv3d(1024, 400, 1)})
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def forward(self, clips: Tensor) -> Tensor:
        """Features float32 `[N, 1024]` of `[N, channels, T, 224, 224]` in -1..1, `T` at least 16."""
        x = clips
        for layer in list(self.children())[:-1]:
            x = layer(x)
        return F.avg_pool3d(x.float(), (2, 7, 7), 1).mean((2, 3, 4))

    def logits(self, features: Tensor) -> Tensor:
        """Logits `[N, 400]` of the Kinetics classes: linear, so the mean over time may come before as well as after."""
        logits: Tensor = self.conv3d_0c_1x1["conv3d"](features[:, :, None, None, None])
        return logits.flatten(1)


class I3D(Encoder):
    """What both streams share: stacks of 25 frames, of which 24 units are made, in steps of 8."""

    modality = "picture"
    rate, window, stride, ahead = 25, 24, 8, 1
    together = 4  # of which the first layer alone makes 150 MB
    shape = (1024,)
    network: InceptionI3D

    def encode(self, windows: Tensor) -> Tensor:
        """Features float32 `[N, 1024]` of grey levels `[N, 24, channels, 224, 224]`."""
        features: Tensor = self.network(2 * windows.float().transpose(1, 2) / 255 - 1)
        return features

    @staticmethod
    def short_side(frames: Tensor) -> Tensor:
        """Frames uint8 `[n, H, W, 3]` with a short side of 256, the other rounded down: uint8 `[n, 3, H', W']`."""
        short = min(frames.shape[1:3])
        height, width = (SHORT_SIDE * length // short for length in frames.shape[1:3])
        return resize(frames, height, width, antialias=True)


@dataclass(frozen=True)
class I3DRGBConfig:
    """`eps` of the batch normalisations; see `InceptionI3D`."""

    eps: float = 1e-5


class I3DRGB(I3D):
    """I3D on frames."""

    Config = I3DRGBConfig

    def __init__(self, config: I3DRGBConfig) -> None:
        super().__init__()
        self.config = config
        self.network = InceptionI3D(3, config.eps)

    def prepare(self, units: Tensor) -> Tensor:
        """The middle of each frame but the last, uint8 `[n, 3, 224, 224]`; flow has no feature of the last either."""
        return torch.cat([centre_crop(self.short_side(frame), CROP) for frame in units[:-1].split(1)])

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State dict from that of hassony2's or piergiaj's port."""
        return renamed(states[0], PIERGIAJ)


@dataclass(frozen=True)
class I3DFlowConfig:
    """`eps` of the batch normalisations, see `InceptionI3D`, and how often RAFT refines the flow."""

    eps: float = 1e-5
    flow_updates: int = 20


class I3DFlow(I3D):
    """I3D on the optical flow from each frame to the next, by RAFT (Teed and Deng 2020)."""

    Config = I3DFlowConfig

    def __init__(self, config: I3DFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.network = InceptionI3D(2, config.eps)
        self.raft = raft_large()

    def prepare(self, units: Tensor) -> Tensor:
        """Flow from each frame but the last to the next: int16 `[n, 2, 224, 224]`, x before y, as `quantised`.

        Computed here, since three windows see each flow.
        """
        frames = torch.cat([self.short_side(frame) for frame in units.split(1)])
        pairs = zip(frames[:-1].split(PAIRS), frames[1:].split(PAIRS), strict=True)
        return torch.cat([self.quantised(centre_crop(self.flow(*map(self._scaled, pair)), CROP)) for pair in pairs])

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Pixels float32 `[n, 2, H, W]` by which each place moves between frames `[n, 3, H, W]` in -1..1.

        Float32 under autocast too: rounded coordinates would be off by pixels.
        """
        with torch.autocast(first.device.type, enabled=False):
            refined: list[Tensor] = self.raft(first, second, num_flow_updates=self.config.flow_updates)
        return refined[-1]

    @staticmethod
    def quantised(flow: Tensor) -> Tensor:
        """Flow in grey levels as the network was trained with, -20..20 pixels to 0..256: int16 of the same shape.

        The top level is 256, as in the published extractor, so bytes would not hold it.
        """
        levels = 128 + 255 / (2 * MOST_FLOW) * flow.clamp(-MOST_FLOW, MOST_FLOW)
        return levels.round().to(torch.int16)

    @staticmethod
    def _scaled(frames: Tensor) -> Tensor:
        """Frames uint8 `[n, 3, H, W]` in -1..1, sides multiples of 8: borders are repeated, half of it on each side."""
        down, across = (-length % 8 for length in frames.shape[-2:])
        border = (across // 2, across - across // 2, down // 2, down - down // 2)
        return 2 * F.pad(frames.float(), border, mode="replicate") / 255 - 1

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State dict from that of I3D on flow, in either port, and that of RAFT, torchvision's or princeton-vl's."""
        flow, raft = states
        return renamed(flow, PIERGIAJ) | renamed(raft, PRINCETON)
