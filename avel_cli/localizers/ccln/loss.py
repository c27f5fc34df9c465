"""What CCLN is trained to make small: a reconstruction from the abstract, see `network.py`.

Stated there: events and scenes are set apart with adaptive weights (FEE), and labels of whole clips align the
modalities (WCCL). Every formula and number is our choice. Functions of outputs and labels alone; no loop, no schedule.

Labels of segments are class indices `[B, T]`, int64; categories of clips `[B]`. In both the number of classes `K`
itself stands for background: for a clip, that it holds no event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from avel_cli.localizers.cace_net.loss import bag_loss, clip_loss, segment_loss

if TYPE_CHECKING:
    from avel_cli.localizers.ccln.branch import CrossModalOutput
    from avel_cli.localizers.ccln.network import CCLNOutput

FEE_MARGIN = 0.6  # cosine distance beyond which an event segment is far enough from background
FEE_REACH = 2.0  # segments in which the weight of a pair falls to 1/e: pairs at a boundary matter most
FEE_SHARPNESS = 0.1  # cosine in which it does: so do pairs that are still confused
SURE_EVENT, SURE_BACKGROUND = 0.7, 0.3  # relevance that makes a segment an example where segments have no labels
PAIR_MARGIN = 2.0  # as AVE-ECCV18 trains its cross-modal matching
SQUARED_EPSILON = 1e-7  # under the root of a distance, as there


@dataclass(frozen=True)
class CCLNWeights:
    """Weights of the terms; all are starting points of ours.

    Attributes:
        branch: of each of the two clip losses of the branch.
        fee: of foreground event enhancement; with weak supervision 0 at first.
        wccl: of the contrast across modalities, in localization.
        matching_wccl: the same, where the branch is trained alone for cross-modal localization.
        eta: share of the fused features in that contrast.
        tau: its temperature.
        scale_by_tau: multiply it by its temperature, as a related method does.
        fee_from: part of the run after which weak supervision has FEE.
        skip_empty: leave clips without an event out of the losses of clips; else they count as category 0.
    """

    branch: float = 0.5
    fee: float = 0.1
    wccl: float = 0.1
    matching_wccl: float = 1.0
    eta: float = 0.5
    tau: float = 0.1
    scale_by_tau: bool = False
    fee_from: float = 0.125
    skip_empty: bool = False


class CCLNLoss(NamedTuple):
    """The terms, scalars, 0 where a part is switched off, and `total`, their weighted sum.

    With weak supervision `category` is the multiple-instance loss and `event` is 0.
    """

    event: Tensor
    category: Tensor
    branch: Tensor
    fee: Tensor
    wccl: Tensor
    total: Tensor


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of every row of `x [..., M, D]` with every row of `y [..., N, D]`: `[..., M, N]`, not below float32."""
    with torch.autocast(x.device.type, enabled=False):
        x, y = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (x, y))
        return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT


def fee_loss(features: Tensor, event: Tensor, background: Tensor) -> Tensor:
    """Hinge on the cosine distance of event and background segments within a clip; mean over clips that have both.

    A pair weighs `exp(-|i - j| / 2) * exp((c_ij - 1) / 0.1)`, without gradient. The loss is 0 if no clip has both.

    Args:
        features: `[B, T, D]`, of the enhanced segments.
        event: `[B, T]`, bool.
        background: the same; a segment may be neither.
    """
    cosine = cosines(features, features)
    place = torch.arange(features.shape[1], device=features.device)
    apart = (place.unsqueeze(0) - place.unsqueeze(1)).abs() / FEE_REACH
    weight = ((cosine.detach() - 1) / FEE_SHARPNESS - apart).exp() * (event.unsqueeze(2) & background.unsqueeze(1))
    hinge = (FEE_MARGIN - (1 - cosine)).relu()
    total = weight.sum(dim=(1, 2))
    per_clip = (weight * hinge).sum(dim=(1, 2)) / total.where(total > 0, 1)
    return per_clip.sum() / (total > 0).sum().clamp(min=1)


def contrast(x: Tensor, y: Tensor, categories: Tensor, num_classes: int, videos: Tensor | None, tau: float) -> Tensor:
    """Supervised contrast of anchors `x` with samples `y`, both `[B, P]`: the samples of its category draw an anchor.

    A clip is a positive of itself. Clips without an event are negatives, never anchors; 0 if there is no anchor.

    Args:
        x: one view of the clips, of any length.
        y: another.
        categories: `[B]`, `num_classes` for no event.
        num_classes: `K`.
        videos: `[B]`, a number for each video: clips of one video with different categories are the same to look at,
            and are therefore not held against each other. None if no video occurs twice.
        tau: temperature.
    """
    same = categories.unsqueeze(1) == categories
    left_out = torch.zeros_like(same) if videos is None else (videos.unsqueeze(1) == videos) & ~same
    logs = (cosines(x, y) / tau).masked_fill(left_out, -torch.inf).log_softmax(dim=1)
    per_anchor = -logs.where(same, 0).sum(dim=1) / same.sum(dim=1)
    anchors = categories < num_classes
    return per_anchor.where(anchors, 0).sum() / anchors.sum().clamp(min=1)


def wccl_loss(
    output: CCLNOutput | CrossModalOutput,
    categories: Tensor,
    num_classes: int,
    videos: Tensor | None,
    weights: CCLNWeights,
) -> Tensor:
    """Contrast of the two views of the branch in both directions, and of the fused view with each; 0 without views."""
    audio, visual = output.audio_view, output.visual_view
    if audio is None or visual is None:
        return categories.new_zeros((), dtype=torch.float32)

    def both(*pairs: tuple[Tensor, Tensor]) -> Tensor:
        losses = [contrast(x, y, categories, num_classes, videos, weights.tau) for x, y in pairs]
        return torch.stack(losses).mean()

    loss = both((visual, audio), (audio, visual))
    fused = getattr(output, "fused_view", None)  # the branch alone has none
    if fused is not None:
        loss = loss + weights.eta * both((fused, audio), (fused, visual))
    return loss * weights.tau if weights.scale_by_tau else loss


def ccln_loss(
    output: CCLNOutput,
    labels: Tensor,
    weights: CCLNWeights = CCLNWeights(),
    *,
    videos: Tensor | None = None,
) -> CCLNLoss:
    """The loss with labels of segments.

    Args:
        output: of a network of task `full`, in training or with `branch=True`.
        labels: `[B, T]`.
        weights: of the terms.
        videos: `[B]`, see `contrast`.
    """
    num_classes = output.category_logits.shape[1]
    event = segment_loss(output.event_logits, labels, num_classes)
    category = clip_loss(output.clip_logits, labels, skip_empty=weights.skip_empty)
    zero = torch.zeros_like(event)
    branch = sum((clip_loss(logits, labels, skip_empty=weights.skip_empty) for logits in _branch(output)), zero)
    is_event = labels < num_classes
    apart = zero if output.enhanced is None else fee_loss(output.enhanced, is_event, ~is_event)
    categories = labels.amin(dim=1)  # one category a clip, and background is the highest number
    aligned = wccl_loss(output, categories, num_classes, videos, weights)
    return _weighted(event, category, branch, apart, aligned, weights)


def weak_ccln_loss(
    output: CCLNOutput,
    categories: Tensor,
    weights: CCLNWeights = CCLNWeights(),
    *,
    videos: Tensor | None = None,
) -> CCLNLoss:
    """The loss with labels of clips alone; FEE sets those segments apart that the network is sure of.

    Args:
        output: of a network of task `weak`, in training or with `branch=True`.
        categories: `[B]`.
        weights: of the terms.
        videos: `[B]`, see `contrast`.
    """
    num_classes = output.category_logits.shape[1]
    relevance = output.event_logits.sigmoid()
    scores = relevance.unsqueeze(2) * output.clip_logits.unsqueeze(1)  # [B, T, K + 1]
    category = bag_loss(scores.amax(dim=1), categories)
    zero = torch.zeros_like(category)
    branch = sum((bag_loss(logits, categories) for logits in _branch(output)), zero)
    sure = relevance > SURE_EVENT, relevance < SURE_BACKGROUND
    apart = zero if output.enhanced is None else fee_loss(output.enhanced, *sure)
    aligned = wccl_loss(output, categories, num_classes, videos, weights)
    return _weighted(zero, category, branch, apart, aligned, weights)


def pair_loss(audio: Tensor, visual: Tensor, event: Tensor) -> Tensor:
    """Synchronous segments draw together where they are an event and part to a distance of 2 where not (AVE-ECCV18).

    Args:
        audio: `[B, T, P]`.
        visual: the same.
        event: `[B, T]`, bool.
    """
    squared = (audio - visual).square().sum(dim=-1).clamp(min=SQUARED_EPSILON)
    return torch.where(event, squared, (PAIR_MARGIN - squared.sqrt()).relu().square()).mean()


def cross_modal_loss(
    output: CrossModalOutput, labels: Tensor, num_classes: int, videos: Tensor | None, weights: CCLNWeights
) -> Tensor:
    """The loss of the branch trained alone: pairs of segments, and the contrast of clips; `labels` are `[B, T]`."""
    pairs = pair_loss(output.audio, output.visual, labels < num_classes)
    return pairs + weights.matching_wccl * wccl_loss(output, labels.amin(dim=1), num_classes, videos, weights)


def _branch(output: CCLNOutput) -> list[Tensor]:
    return [logits for logits in (output.audio_logits, output.visual_logits) if logits is not None]


def _weighted(
    event: Tensor, category: Tensor, branch: Tensor, fee: Tensor, wccl: Tensor, weights: CCLNWeights
) -> CCLNLoss:
    total = event + category + weights.branch * branch + weights.fee * fee + weights.wccl * wccl
    return CCLNLoss(event, category, branch, fee, wccl, total)
