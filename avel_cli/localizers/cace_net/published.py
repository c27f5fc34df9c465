"""Reads the published CACE-Net checkpoints: their names, their leftovers, their precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avel_cli.localizers.cace_net.network import ENCODER_LAYERS, CACENet, CACENetConfig, Projections
from avel_cli.localizers.published import fill

# Ours -> the published module, or the modules whose rows a `Projections` stacks. The first prefix that fits counts.
_OFFICIAL: dict[str, tuple[str, ...]] = {
    "visual_adapter.0": ("v_fc",),
    "audio_adapter.0": ("a_fc",),
    "event_head": ("localize_module.classifier",),
    "category_head": ("localize_module.event_classifier",),
    "contrast": ("localize_module.encoder_q.0",),
}
_OFFICIAL |= {
    f"guidance.{ours}": tuple(f"spatial_channel_att.{name}" for name in names.split())
    for ours, names in {
        "attention.project": "video_query video_key video_value video_query2 video_key2 video_value2",
        "attention.norm": "v_norm",
        "visual.from_audio": "affine_audio_1 affine_audio_2",
        "visual.from_attended": "affine_video_1 affine_video_3",
        "visual.from_mean": "affine_video_ave",
        "visual.from_channels": "affine_video_2",
        "visual.squeeze": "affine_bottleneck",
        "visual.excite": "affine_v_c_att",
        "visual.salient.score": "ave_v_att",
        "visual.heard.score": "affine_v_s_att",
        "audio.project": "audio_query audio_key audio_value",
        "audio.norm": "a_norm",
        "audio.query": "v_query",
        "audio.key_value": "vaudio_key vaudio_value",
    }.items()
}
for _ours, _theirs, _rnn, _interaction in (
    ("audio", "audio", "audio_rnn", "VAInter"),
    ("visual", "video", "visual_rnn", "AVInter"),
):
    _OFFICIAL |= {
        f"{_ours}.encoder.layers.{i}.attention": (f"{_theirs}_encoder.encoder.layers.{i}.self_attn",)
        for i in range(ENCODER_LAYERS)
    }
    _OFFICIAL |= {
        f"{_ours}.rnn": (f"audio_visual_rnn_layer.{_rnn}",),
        f"{_ours}.encoder.layers": (f"{_theirs}_encoder.encoder.layers",),
        f"{_ours}.encoder.project": (f"{_theirs}_encoder.affine_matrix",),
        f"{_ours}.decoder.layer.attention": (f"{_theirs}_decoder.decoder.layers.0.multihead_attn",),
        f"{_ours}.decoder.layer": (f"{_theirs}_decoder.decoder.layers.0",),
        f"{_ours}.decoder.project": (f"{_theirs}_decoder.affine_matrix",),
        f"{_ours}.gate": (f"{_theirs}_gated.0",),
        f"{_ours}.class_activation": (f"{_theirs}_cas",),
        f"{_ours}.interaction.attention": (f"{_interaction}.video_multihead",),
        f"{_ours}.interaction.norm": (f"{_interaction}.norm1",),
    }

# What published checkpoints hold and the published network, as configured, never computes with.
_IDLE = r"a_fc\..+|\w+coder\.(en|de)coder_layer\..+|\w+_decoder\.decoder\.layers\.0\.self_attn\..+"
_IDLE_CONTRAST = r"localize_module\.encoder_q\.0\..+"
_IDLE_GUIDANCE = {
    "co-guide": "ave_bottleneck|v_norm2",
    "audio-guide": r"ave_bottleneck|v_norm2|a_norm|v?audio_(query|key|value)|v_query|video_(query|key|value)2",
    "visual-guide": r"ave_bottleneck|ave_v_att|affine_\w+",
}


def official_views(model: CACENet, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict of `model` (or its gradients) under their published names, as views.

    A stacked projection appears as the several tensors it was published as; writing to a view writes to `tensors`.
    """
    views = {}
    for name, tensor in tensors.items():
        prefix = next(prefix for prefix in _OFFICIAL if name.startswith(f"{prefix}."))
        module = model.get_submodule(prefix)
        pieces = tensor.split_with_sizes(module.widths) if isinstance(module, Projections) else (tensor,)
        for official, piece in zip(_OFFICIAL[prefix], pieces, strict=False):  # one attention of two has half the names
            views[official + name.removeprefix(prefix)] = piece
    return views


def from_official(state_dict: Mapping[str, Tensor], config: CACENetConfig) -> dict[str, Tensor]:
    """A float32 state dict for `CACENet(config)` from the state dict of a published checkpoint.

    The prefix `module.` is optional; parameters that the published network declares but never uses are dropped.

    Raises:
        ModelError: if a parameter is missing, unknown or of another shape; the text names them.
    """
    with torch.device("meta"):
        model = CACENet(config)
    ours = {name: torch.empty(tensor.shape) for name, tensor in model.state_dict().items()}
    fill(official_views(model, ours), state_dict, f"CACE-Net (guide {config.guide})", _idle_names(config))
    return ours


def _idle_names(config: CACENetConfig) -> str:
    """A pattern for the published names that this configuration has no use for."""
    patterns = [_IDLE]
    if not config.contrastive:
        patterns.append(_IDLE_CONTRAST)
    if config.guide in _IDLE_GUIDANCE:
        patterns.append(rf"spatial_channel_att\.({_IDLE_GUIDANCE[config.guide]})\.(weight|bias)")
    return "|".join(patterns)
