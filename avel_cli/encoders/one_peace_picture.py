"""`one-peace-picture`: the vision branch of ONE-PEACE tuned on Kinetics-400, as in the features of UniAV and LoCo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.frames import centre_crop, resize
from avel_cli.encoders.names import Rules, renamed
from avel_cli.encoders.one_peace import (
    LAYER_NAMES,
    ChannelNorm,
    Layer,
    position_bias,
    rows_with_cls,
    unwrapped,
)

MEAN = (122.771, 116.746, 104.094)
STD = (68.5, 66.632, 70.323)
PATCH = 16  # pixels
ADAPTED = 4  # times narrower inside an adapter

NAMES: Rules = (
    (r"^cls_head\.|rp_bucket", None),
    (r"^(backbone\.)?(image_adapter|encoder)\.", ""),
    (r"^embed_images\.(\d)\.(layer_norm\.)?", r"patches.\1."),
    (r"^rel_pos_table\.", "bias_table."),
    (r"^image_layer_norm\.", "norm."),
    (r"T_Adapter\.", "time_adapter."),
    (r"S_Adapter\.", "space_adapter."),
    (r"MLP_Adapter\.", "feed_adapter."),
    (r"adapter\.D_fc1\.", "adapter.0."),
    (r"adapter\.D_fc2\.", "adapter.2."),
    *LAYER_NAMES,
)


def adapter(width: int) -> nn.Sequential:
    """The small network through which a tower of single pictures was tuned to video (AIM, arXiv 2302.03024)."""
    return nn.Sequential(nn.Linear(width, width // ADAPTED), nn.GELU(), nn.Linear(width // ADAPTED, width))


class VideoLayer(Layer):
    """A layer whose attention runs twice: over the frames of each patch, then over the patches of each frame."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__(width, heads, hidden)
        self.time_adapter, self.space_adapter, self.feed_adapter = (adapter(width) for _ in range(3))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """`[N, T, L, D]` to the same; `bias` `[heads, L, L]` is for the patches."""
        over_time = self.attention(self.attention_norm(x).transpose(1, 2)).transpose(1, 2)
        seen = self.attention(self.attention_norm(x + self.time_adapter(over_time)), bias)
        x = x + self.gamma_1 * (seen + self.space_adapter(seen))  # to the input: time acts through attention alone
        normed = self.feed_forward_norm(x)
        fed: Tensor = x + self.gamma_2 * self.feed_forward(normed) + 0.5 * self.feed_adapter(normed)
        return fed


def bias_rows(side: int) -> Tensor:
    """Which row of the table each pair of CLS and `side * side` patches takes, by how far apart they are."""
    place = torch.arange(side)
    apart = place[:, None] - place + side - 1
    span = 2 * side - 1
    rows = span * apart[:, None, :, None] + apart[None, :, None, :]  # query down, across, key down, across
    return rows_with_cls(rows.reshape(side * side, side * side), span * span)


@dataclass(frozen=True)
class OnePeacePictureConfig:
    """Sizes of the network; the defaults are the published ones.

    Attributes:
        width: of a token and of the features.
        heads: of each attention.
        hidden: width inside the feed-forward layers.
        layers: of the transformer.
        frames: that a feature sees.
        size: height and width of what is seen of a frame, a multiple of 16.
    """

    width: int = 1536
    heads: int = 24
    hidden: int = 6144
    layers: int = 40
    frames: int = 16
    size: int = 256


class OnePeacePicture(Encoder):
    """A second of video to 1536 numbers, every quarter of a second."""

    Config = OnePeacePictureConfig
    modality = "picture"
    has_constants = False
    rate, stride = 16, 4
    together = 4  # a window is 4112 tokens, 400 MB inside a feed-forward layer

    def __init__(self, config: OnePeacePictureConfig) -> None:
        super().__init__()
        self.config = config
        self.window = config.frames
        self.shape = (config.width,)
        self.side = config.size // PATCH
        narrow = config.width // 4
        self.patches = nn.Sequential(
            nn.Conv2d(3, narrow, 4, 4),
            ChannelNorm(narrow),
            nn.GELU(),
            nn.Conv2d(narrow, narrow, 2, 2),
            ChannelNorm(narrow),
            nn.GELU(),
            nn.Conv2d(narrow, config.width, 2, 2),
        )
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(self.side**2 + 1, config.width))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, config.frames, config.width))
        self.bias_table = nn.Embedding((2 * self.side - 1) ** 2 + 3, config.heads)
        self.layers = nn.ModuleList(VideoLayer(config.width, config.heads, config.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def prepare(self, units: Tensor) -> Tensor:
        """The middle of each frame, uint8 `[n, 3, 256, 256]`, its short side being 256."""
        scale = self.config.size / min(units.shape[1:3])
        height, width = (int(length * scale + 0.5) for length in units.shape[1:3])
        small = (resize(frame, height, width, antialias=False) for frame in units.split(1))
        return torch.cat([centre_crop(frame, self.config.size) for frame in small])

    def encode(self, windows: Tensor) -> Tensor:
        """Features float32 `[N, D]`, of any length, of grey levels `[N, 16, 3, 256, 256]`."""
        return self.cls(windows).float().mean(1)

    def cls(self, windows: Tensor) -> Tensor:
        """What the last layer makes of the CLS of each frame, `[N, T, D]`, from grey levels `[N, T, 3, H, W]`."""
        x = self._tokens(windows)
        bias = position_bias(self.bias_table, bias_rows(self.side))
        for layer in self.layers:
            x = layer(x, bias)
        last: Tensor = self.norm(x[:, :, 0])
        return last

    def _tokens(self, windows: Tensor) -> Tensor:
        """CLS and patches with their positions in space and time, `[N, T, L, D]`."""
        mean, std = (torch.tensor(values, device=windows.device)[:, None, None] for values in (MEAN, STD))
        pixels = ((windows.float() - mean) / std).flatten(0, 1)
        patches = self.patches(pixels).flatten(2).mT
        tokens = torch.cat([self.cls_embedding.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        placed: Tensor = tokens.unflatten(0, windows.shape[:2]) + self.temporal_embedding[:, :, None]
        return placed

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State dict of the tower, from that of the published classifier, whose head is left out."""
        return renamed(unwrapped(states[0]), NAMES)
