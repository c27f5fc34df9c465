"""Reads the published UnAV checkpoints: their names, and the length-1 axes that convolutions and norms carry there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avel_cli.errors import ModelError
from avel_cli.localizers.published import fill
from avel_cli.localizers.unav.network import UnAV, UnAVConfig

# Ours -> published, in this order, wherever it stands in a name.
_OFFICIAL = [
    ("heads.classify.stack.convs.", "cls_head.head."),
    ("heads.classify.stack.norms.", "cls_head.norm."),
    ("heads.classify.last.", "cls_head.cls_head."),
    ("heads.regress.stack.convs.", "reg_head.head."),
    ("heads.regress.stack.norms.", "reg_head.norm."),
    ("heads.regress.last.", "reg_head.offset_head."),
    ("dependency.temporal.", "dependency_block.temporal_branch."),
    ("dependency.cooccurrence.", "dependency_block.cooccur_branch."),
    ("dependency.expand.", "dependency_block.feature_expand."),
    ("dependency.squeeze.", "dependency_block.feature_squeeze."),
    (".norm_key.", ".ln11."),
    (".norm_query.", ".ln12."),
    (".norm_mlp.", ".ln2."),
    (".proj.", ".attn.proj."),
    (".mlp.2.", ".mlp.3."),
    (".attention_scale.weight", ".drop_path_attn.scale"),
    (".mlp_scale.weight", ".drop_path_mlp.scale"),
]
for _part in ("query", "key", "value"):
    _OFFICIAL += [
        (f".{_part}.", f".attn.{_part}."),
        (f".{_part}_norm.", f".attn.{_part}_norm."),
        (f".{_part}_conv.", f".attn.{_part}_conv.conv."),
    ]
for _ours, _theirs, _cross in (("audio", "A", "Av"), ("visual", "V", "Va")):
    _OFFICIAL += [
        (f"{_ours}.embed.convs.", f"backbone.embd_{_theirs}."),
        (f"{_ours}.embed.norms.", f"backbone.embd_norm_{_theirs}."),
        (f"{_ours}.blocks.", f"backbone.self_att_{_theirs}."),
        (f"pyramid.{_ours}.0.", f"backbone.ori_cross_att_{_cross}."),
        *((f"pyramid.{_ours}.{level}.", f"backbone.cross_att_{_cross}.{level - 1}.") for level in range(1, 16)),
    ]


def official_views(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict of `UnAV` (or its gradients) under their published names and shapes, as views."""
    views: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "heads.scale":
            views |= {f"reg_head.scale.{level}.scale": scale for level, scale in enumerate(tensor.unbind())}
            continue
        for ours, theirs in _OFFICIAL:
            name = name.replace(ours, theirs)
        views[name] = _published_shape(name, tensor)
    return views


def from_official(state_dict: Mapping[str, Tensor], config: UnAVConfig) -> dict[str, Tensor]:
    """A float32 state dict for `UnAV(config)` from the state dict of a published checkpoint.

    Published weights were trained with `official_padding`. The prefix `module.` is optional.

    Raises:
        ModelError: if a parameter is missing, unknown or of another shape; the text names them.
    """
    with torch.device("meta"):
        model = UnAV(config)
    ours = {name: torch.empty(tensor.shape) for name, tensor in model.state_dict().items()}
    fill(official_views(ours), state_dict, "UnAV")
    return ours


def official_config(state_dict: Mapping[str, Tensor], max_seq_len: int) -> UnAVConfig:
    """The configuration of the network that the state dict of a published checkpoint is from.

    Args:
        state_dict: its names may begin with `module.`.
        max_seq_len: length that its inputs are padded to, which tensors do not tell.

    Raises:
        ModelError: if it is not from such a network.
    """
    shapes = {name.removeprefix("module."): tensor.shape for name, tensor in state_dict.items()}
    try:
        d_model, audio_dim, _ = shapes["backbone.embd_A.0.conv.weight"]
        visual_dim = shapes["backbone.embd_V.0.conv.weight"][1]
        num_classes, head_dim, _ = shapes["cls_head.cls_head.conv.weight"]
        expanded = shapes.get("dependency_block.feature_expand.conv.weight", (0,))[0]
    except (KeyError, ValueError, IndexError):
        raise ModelError("these weights are not of a published UnAV") from None
    return UnAVConfig(
        audio_dim=audio_dim,
        visual_dim=visual_dim,
        num_classes=num_classes,
        d_model=d_model,
        levels=sum(name.startswith("reg_head.scale.") for name in shapes),
        head_dim=head_dim,
        max_seq_len=max_seq_len,
        dependency_dim=expanded // num_classes,
        official_padding=True,
    )


def _published_shape(name: str, tensor: Tensor) -> Tensor:
    """Norms and residual scales as `[1, D, 1]`, linear maps as convolutions over one step."""
    if tensor.ndim == 2:
        return tensor.unsqueeze(-1)
    per_channel = "norm" in name or ".ln" in name or name.endswith(".scale")
    return tensor.view(1, -1, 1) if per_channel else tensor
