"""What the dense-event networks are trained to make small: label assignment, detection terms, correspondence.

Points of all levels stand behind each other: `P = sum(T_l)`. Segments are in grid steps of level 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli.localizers.dense.blocks import Correspondence, DenseOutput

Overlap = Literal["diou", "giou"]

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
LCC_WEIGHT = 0.1  # LoCo eq. 9
SMOOTHING = 0.1  # of the softened correspondence targets
FINEST_REACH = 4  # level 0 is for events that end within so many steps; each level for twice those of the one before


class DenseTargets(NamedTuple):
    """What a dense-event network should say.

    Attributes:
        classes: `[B, P, K]`, 1 where the point is in an event of the class, else 0.
        offsets: `[B, P, K, 2]`, distances to its start and end in strides of the level; 0 elsewhere.
    """

    classes: Tensor
    offsets: Tensor


class LossNormaliser(nn.Module):
    """Running number of positive points in a batch, which both detection terms are divided by.

    Part of the state of a training run; in evaluation mode it stays as it is. Published starts: 250 for I3D and VGGish
    features, 300 for ONE-PEACE.
    """

    value: Tensor

    def __init__(self, start: float = 250.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(start))

    def forward(self, positives: Tensor) -> Tensor:
        """The number, a scalar, once `positives`, also a scalar, has been taken in."""
        if self.training:
            self.value = self.momentum * self.value + (1 - self.momentum) * positives.detach().clamp(min=1)
        return self.value


def assign_labels(
    segments: Sequence[Tensor], labels: Sequence[Tensor], lengths: Sequence[int], num_classes: int
) -> DenseTargets:
    """The targets of a batch, by the rules of the published UnAV.

    A point counts for an event if it lies inside and the farther end is within reach of its level: [0, 4] steps on
    level 0, [4, 8] on level 1, and so on, without limit on the last. Of two such events of one class the later in the
    list gives the offsets.

    Args:
        segments: for each video `[E, 2]`, start and end; they may reach out of the grid.
        labels: for each video `[E]`, int64, class indices.
        lengths: points `T_l` of each level, padding included.
        num_classes: classes `K`.
    """
    device = segments[0].device
    strides = torch.cat([torch.full((n,), 2.0**level, device=device) for level, n in enumerate(lengths)])
    points = torch.cat([torch.arange(n, device=device) * 2.0**level for level, n in enumerate(lengths)])
    reach = FINEST_REACH * strides
    shortest = torch.where(strides == 1, 0, reach / 2)
    longest = reach.masked_fill(strides == 2.0 ** (len(lengths) - 1), math.inf)
    classes = torch.zeros(len(segments), len(points), num_classes, device=device)
    offsets = torch.zeros(*classes.shape, 2, device=device)
    for video, (ends, of_video) in enumerate(zip(segments, labels, strict=True)):
        distances = torch.stack((points - ends[:, :1], ends[:, 1:] - points), dim=-1)  # [E, P, 2]
        farther = distances.amax(dim=-1)
        fits = (distances > 0).all(dim=-1) & (farther >= shortest) & (farther <= longest)
        for event, label in enumerate(of_video.tolist()):
            classes[video, fits[event], label] = 1
            offsets[video, fits[event], label] = (distances[event] / strides.unsqueeze(1))[fits[event]]
    return DenseTargets(classes, offsets)


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of each element (Lin et al., 2017), alpha 0.25, gamma 2; targets are 0 or 1."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = (logits.sigmoid() - targets).abs()
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    return alpha * missed**FOCAL_GAMMA * entropy


def overlap_loss(offsets: Tensor, targets: Tensor, kind: Overlap = "diou") -> Tensor:
    """How far intervals around one point, `[N, 2]` distances to start and end, are from others there; `[N]`.

    `giou` is 1 - IoU: of intervals that share a point hull and union are the same. `diou`, which is what the published
    UnAV computes, adds the squared distance of the centres in units of the hull.
    """
    shared = torch.minimum(offsets, targets).sum(dim=-1)
    hull = torch.maximum(offsets, targets).sum(dim=-1).clamp(min=1e-8)
    loss = 1 - shared / hull
    if kind == "diou":
        difference = offsets - targets
        loss = loss + ((difference[:, 1] - difference[:, 0]) / 2 / hull) ** 2
    return loss


def correspondence_targets(given: Correspondence) -> Tensor:
    """Logarithm of how much each of the `N` real steps of a batch is drawn to each, `[N, N]`; symmetric.

    It is -inf between videos. The Gaussians are densities of `|t - t'| / sqrt(2)`, the distance to the diagonal (LoCo
    eqs. 3-4; the form of the distance is that of the work the paper cites for it).
    """
    video, step = given.mask.nonzero().unbind(dim=1)
    apart = step.unsqueeze(1) - step
    same_video = video.unsqueeze(1) == video
    if given.targets == "diagonal":
        log_target = torch.zeros_like(apart, dtype=torch.float32).masked_fill(apart != 0, -torch.inf)
    elif given.targets == "softened":
        others = same_video.sum(dim=1, keepdim=True) - 1
        log_target = torch.where(apart == 0, math.log(1 - SMOOTHING), math.log(SMOOTHING) - others.log())
    else:
        log_target = -(apart**2) / (4 * given.sigma**2) - given.sigma.log() - math.log(2 * math.pi) / 2
    return log_target.masked_fill(~same_video, -torch.inf)


def correspondence_loss(given: Correspondence) -> Tensor:
    """Locality-aware correspondence (LoCo 3.3): each step finds its moment in the other modality, in both directions.

    A scalar, mean over the real steps of the batch; in float32 whatever the network runs in.
    """
    with torch.autocast(given.audio.device.type, enabled=False):
        audio, visual = given.audio.float()[given.mask], given.visual.float()[given.mask]
        similarities = visual @ audio.T / given.tau.float()
        log_target = correspondence_targets(given)
        if given.form != "density_ce":
            log_target = log_target.log_softmax(dim=1)
        target = log_target.exp()
        found = (similarities.log_softmax(dim=1) + similarities.log_softmax(dim=0).T) / 2
        wanted = log_target.masked_fill(target == 0, 0) if given.form == "kl" else 0
        return (target * (wanted - found)).sum() / len(audio)


def dense_loss(
    output: DenseOutput,
    targets: DenseTargets,
    normaliser: LossNormaliser,
    *,
    overlap: Overlap = "diou",
    lcc_weight: float = LCC_WEIGHT,
) -> dict[str, Tensor]:
    """The terms of the training loss, scalars: `cls`, `reg`, `lcc` where the output has a correspondence, `total`.

    Args:
        output: of the network.
        targets: of the same points.
        normaliser: takes in the positive points of this batch first.
        overlap: of the regression term.
        lcc_weight: of `lcc` in `total`.
    """
    mask = torch.cat(output.masks, dim=1)
    positive = targets.classes.bool() & mask.unsqueeze(-1)
    normal = normaliser(positive.any(dim=-1).sum())
    logits = torch.cat(output.logits, dim=1).float()
    offsets = torch.cat(output.offsets, dim=1).float()
    terms = {
        "cls": (focal_loss(logits, targets.classes) * mask.unsqueeze(-1)).sum() / normal,
        "reg": overlap_loss(offsets[positive], targets.offsets[positive], overlap).sum() / normal,
    }
    total = terms["cls"] + terms["reg"]
    if output.correspondence is not None:
        terms["lcc"] = correspondence_loss(output.correspondence)
        total = total + lcc_weight * terms["lcc"]
    return terms | {"total": total}
