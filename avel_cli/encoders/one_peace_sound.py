"""`one-peace-sound`: the audio branch of ONE-PEACE (arXiv 2305.11172), as in the features of UniAV and LoCo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.names import Rules, renamed
from avel_cli.encoders.one_peace import (
    LAYER_NAMES,
    ChannelNorm,
    Layer,
    position_bias,
    rows_with_cls,
    unwrapped,
)

CONVOLUTIONS = ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)  # kernel and stride: 16000 samples to 49 tokens
POSITION_LAYERS = 5
POSITION_KERNEL = 19
BUCKET = 512  # rows of the bias table for each direction
MOST_TOKENS = 2 * BUCKET  # CLS included

NAMES: Rules = (
    (r"text_|image_|rp_bucket|mask_embedding|version|logit_scale", None),
    (r"^encoder_wrapper\.(audio_adapter|fusion_model)\.", ""),
    (r"^embed_audios\.0\.conv_layers\.(\d)\.0\.", r"convolutions.\1.0."),
    (r"^embed_audios\.0\.conv_layers\.(\d)\.2\.1\.", r"convolutions.\1.1."),
    (r"^embed_audios\.2\.", "token_norm."),
    (r"^embed_audios\.3\.", "embed."),
    *((rf"^embed_positions\.{i + 1}\.", f"positions.{i}.") for i in range(POSITION_LAYERS)),
    (r"^rel_pos_table_list\.0\.", "bias_table."),
    (r"^audio_layer_norm\.", "norm."),
    (r"^audio_proj\.", "project."),
    *LAYER_NAMES,
)


def normed(convolution: nn.Conv1d, affine: bool) -> nn.Sequential:
    """A convolution `[N, C, L]`, normalised over its channels."""
    return nn.Sequential(convolution, ChannelNorm(convolution.out_channels, elementwise_affine=affine), nn.GELU())


def convolutions(channels: int) -> nn.Sequential:
    """Samples `[N, 1, 16000]` to tokens `[N, channels, 49]`."""
    inputs = [1] + [channels] * (len(CONVOLUTIONS) - 1)
    pairs = zip(inputs, CONVOLUTIONS, strict=True)
    layers = (nn.Conv1d(before, channels, kernel, stride, bias=False) for before, (kernel, stride) in pairs)
    return nn.Sequential(*(normed(layer, affine=True) for layer in layers))


def positions(width: int, groups: int) -> nn.Sequential:
    """Tokens `[N, width, L]` to what tells their positions, of the same shape."""
    padding, count = POSITION_KERNEL // 2, range(POSITION_LAYERS)
    layers = (nn.Conv1d(width, width, POSITION_KERNEL, padding=padding, groups=groups) for _ in count)
    return nn.Sequential(*(normed(layer, affine=False) for layer in layers))


def bias_rows(tokens: int) -> Tensor:
    """Which row of the table each pair of CLS and `tokens` tokens takes: `[tokens + 1, tokens + 1]`, at most 1024.

    Up to half a bucket apart each distance has its own row, beyond it they share rows on a logarithmic scale.
    """
    place = torch.arange(tokens)
    apart = place[:, None] - place
    near = BUCKET // 2
    share = (apart.abs().clamp(min=near) / near).log() / math.log((MOST_TOKENS - 1) / near)
    far = apart.sign() * (near + (share * (near - 1)).ceil().long())
    return rows_with_cls(torch.where(apart.abs() <= near, apart, far) + BUCKET - 1, 2 * BUCKET - 1)


@dataclass(frozen=True)
class OnePeaceSoundConfig:
    """Sizes of the network; the defaults are the published ones.

    Attributes:
        width: of a token and of the features.
        heads: of each attention.
        hidden: width inside the feed-forward layers.
        layers: of the transformer.
        channels: of the convolutions over the waveform.
        position_groups: of the convolutions that tell the positions.
    """

    width: int = 1536
    heads: int = 24
    hidden: int = 6144
    layers: int = 40
    channels: int = 512
    position_groups: int = 16


class OnePeaceSound(Encoder):
    """A second of sound to 1536 numbers of unit length, every quarter of a second.

    Sound shorter than a second is filled up with silence; the published features repeat it.
    """

    Config = OnePeaceSoundConfig
    modality = "sound"
    has_constants = False
    rate, window, stride = 16000, 16000, 4000
    resampler = "kaiser"

    def __init__(self, config: OnePeaceSoundConfig) -> None:
        super().__init__()
        self.config = config
        self.shape = (config.width,)
        self.convolutions = convolutions(config.channels)
        self.token_norm = nn.LayerNorm(config.channels)
        self.embed = nn.Linear(config.channels, config.width)
        self.positions = positions(config.width, config.position_groups)
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, config.width))
        self.cls_pos_embed = nn.Parameter(torch.zeros(1, 1, config.width))
        self.bias_table = nn.Embedding(2 * BUCKET + 2, config.heads)
        self.layers = nn.ModuleList(Layer(config.width, config.heads, config.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, config.width)

    def encode(self, windows: Tensor) -> Tensor:
        """Features float32 `[N, D]` of unit length, of samples `[N, 16000]`; how loud they are does not matter."""
        return F.normalize(self.project(self.cls(windows)).float(), dim=-1)

    def cls(self, windows: Tensor) -> Tensor:
        """What the last layer makes of CLS, `[N, D]`, from samples `[N, 16000]`."""
        x = self._tokens(F.layer_norm(windows.float(), windows.shape[-1:]))
        bias = position_bias(self.bias_table, bias_rows(x.shape[1] - 1))
        for layer in self.layers:
            x = layer(x, bias)
        last: Tensor = self.norm(x[:, 0])
        return last

    def _tokens(self, wave: Tensor) -> Tensor:
        """CLS and 49 tokens with their positions `[N, 50, D]`, of normalised samples `[N, 16000]`."""
        tokens = self.embed(self.token_norm(self.convolutions(wave[:, None]).mT))
        places = self.positions(tokens.mT).mT
        cls = (self.cls_embedding + self.cls_pos_embed).expand(len(wave), -1, -1)
        return torch.cat([cls, tokens + places], 1)

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """State dict of the audio branch, from that of the whole model."""
        return renamed(unwrapped(states[0]), NAMES)
