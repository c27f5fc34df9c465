"""Small dense-event networks and inputs, of which every part has a say in the output."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.localizers.dense.blocks import DenseOutput, ResidualScale

SIZES = {"audio_dim": 6, "visual_dim": 10, "num_classes": 5, "d_model": 16, "head_dim": 12, "levels": 4}
LENGTHS = (37, 64, 5)  # steps of the videos of `videos`


def awake(network: nn.Module) -> nn.Module:
    """Random numbers for everything that starts at 0, at 1 or nearly so, where faults would not show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ResidualScale):
                module.weight.normal_(0, 0.5, generator=generator)
        for name, parameter in network.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
            if ".adapt." in name:
                parameter.normal_(0, 0.5, generator=generator)
            if name.endswith("regress.last.conv.bias"):
                parameter.fill_(1.0)
    return network.eval()


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """`make()` with the same random start each time, awake."""
    torch.manual_seed(0)
    return awake(make())


def videos(padding: int = 0) -> dict[str, Tensor]:
    """Three videos of 37, 64 and 5 steps, with noise, not zeros, on the padding, and `padding` more steps of it."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    inputs = {
        name: torch.randn(len(LENGTHS), max(LENGTHS), width, generator=generator)
        for name, width in (("audio", 6), ("visual", 10))
    }
    padded = {name: F.pad(x, (0, 0, 0, padding), value=3.0) for name, x in inputs.items()}
    return padded | {"mask": F.pad(mask, (0, padding))}


def alone(video: int) -> dict[str, Tensor]:
    """One of the videos, without any padding."""
    return {name: x[video : video + 1, : LENGTHS[video]] for name, x in videos().items()}


def largest_difference(ours: DenseOutput, theirs: DenseOutput, video: int) -> float:
    """Between video `video` of ours and video 0 of theirs, in logits and offsets on real points of all levels."""
    pairs = zip(ours.logits + ours.offsets, theirs.logits + theirs.offsets, theirs.masks * 2, strict=True)
    return max((a[video, : m.shape[1]][m[0]] - b[0][m[0]]).abs().max().item() for a, b, m in pairs)


def untaught(network: nn.Module) -> list[str]:
    """Parameters without a gradient; a bias of keys moves all scores of a query alike and cannot have one."""
    parameters = [(name, p) for name, p in network.named_parameters() if not name.endswith("key.bias")]
    return [name for name, p in parameters if p.grad is None or not p.grad.abs().max() > 0]
