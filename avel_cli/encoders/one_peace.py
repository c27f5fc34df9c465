"""What both towers of ONE-PEACE (arXiv 2305.11172) share: its transformer layer, and how its weights are named.

Nothing here holds a buffer: towers can be built on the meta device, and are complete once their weights are assigned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.encoders.names import Rules

LAYER_NAMES: Rules = (
    (r"self_attn\.", "attention."),
    (r"self_attn_layer_norm\.", "attention_norm."),
    (r"(audio|image)_ffn\.", "feed_forward."),
    (r"final_layer_norm\.", "feed_forward_norm."),
)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of `[N, C, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.transpose(1, -1)).transpose(1, -1)


class Attention(nn.Module):
    """Self-attention whose heads are normalised together before they are projected."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """`[..., L, D]` to the same; `bias` `[heads, L, L]` is added to the scores."""
        sequences = x.flatten(0, -3)  # the fast kernels take one batch axis
        parts = (layer(sequences) for layer in (self.q_proj, self.k_proj, self.v_proj))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, None if bias is None else bias.to(query.dtype))
        projected: Tensor = self.out_proj(self.ln(mixed.transpose(-3, -2).flatten(-2)))
        return projected.view_as(x)


class Gated(nn.Module):
    """A linear layer gated by another one (GeGLU)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(width, hidden, bias=False)
        self.wi_1 = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` to `[..., hidden]`."""
        gated: Tensor = F.gelu(self.wi_0(x)) * self.wi_1(x)
        return gated


class Layer(nn.Module):
    """Attention and feed-forward, each on a normalised input and scaled before it is added."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.gamma_1 = nn.Parameter(torch.ones(width))
        self.feed_forward_norm = nn.LayerNorm(width)
        # the place of the dropout that training has is kept, for the published names count it
        self.feed_forward = nn.Sequential(
            Gated(width, hidden), nn.Identity(), nn.LayerNorm(hidden), nn.Linear(hidden, width)
        )
        self.gamma_2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """`[N, L, D]` to the same; `bias` as for `Attention`."""
        x = x + self.gamma_1 * self.attention(self.attention_norm(x), bias)
        fed: Tensor = x + self.gamma_2 * self.feed_forward(self.feed_forward_norm(x))
        return fed


def rows_with_cls(rows: Tensor, first: int) -> Tensor:
    """Rows `[L + 1, L + 1]` of the table of position biases, from those between the tokens, `[L, L]`.

    Row `first` is for what CLS sees, the next one for those who see CLS, the one after it for CLS and itself.
    """
    rows = F.pad(rows, (1, 0, 1, 0), value=first)
    rows[1:, 0] = first + 1
    rows[0, 0] = first + 2
    return rows


def position_bias(table: nn.Embedding, rows: Tensor) -> Tensor:
    """Bias `[heads, L, L]` that each head adds to its scores, by the rows of the table `[L, L]`."""
    bias: Tensor = table(rows.to(table.weight.device))
    return bias.permute(2, 0, 1)


def unwrapped(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The state dict in a training checkpoint, or the one that `state` is itself."""
    inner: Mapping[str, Tensor] = state.get("state_dict", state.get("model", state))
    return inner
