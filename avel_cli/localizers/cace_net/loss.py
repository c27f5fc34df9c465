"""What CACE-Net is trained to make small. Functions of outputs and labels alone; no loop, no schedule.

Labels are class indices `[B, T]`, int64, one for each segment; the number of classes `K` itself stands for background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from avel_cli.localizers.cace_net.network import CACENetOutput

TEMPERATURE = 0.01


@dataclass(frozen=True)
class CACENetWeights:
    """Weights of the terms.

    Attributes:
        contrastive: of the contrastive term.
        contrastive_from: part of the run after which contrast and the enhanced event head begin (published: 1/8).
        skip_empty: leave clips without an event out of the losses of clips; as published they count as category 0.
    """

    contrastive: float = 1.0
    contrastive_from: float = 0.125
    skip_empty: bool = False


class CACENetLoss(NamedTuple):
    """The terms of the CACE-Net loss, scalars, and `total`, their sum with `contrastive` weighted."""

    event: Tensor
    category: Tensor
    gate: Tensor
    cas: Tensor
    contrastive: Tensor
    total: Tensor


def labels_from_one_hot(one_hot: Tensor) -> Tensor:
    """Class indices `[B, T]` from a one-hot `[B, T, K + 1]` whose last column is background."""
    return one_hot.argmax(dim=-1)


def clip_class(labels: Tensor, num_classes: int) -> Tensor:
    """The category `[B]` of clips with one category each; as published, 0 for a clip that is all background."""
    return labels.masked_fill(labels == num_classes, 0).amax(dim=1)


def segment_loss(logits: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Binary cross-entropy of `[B, T]` logits against "this segment is not background"."""
    return F.binary_cross_entropy_with_logits(logits, (labels < num_classes).to(logits.dtype))


def clip_loss(logits: Tensor, labels: Tensor, *, skip_empty: bool = False) -> Tensor:
    """Cross-entropy of `[B, K]` logits against the category of the clip.

    With `skip_empty` it is the mean over the clips that hold an event, and 0 if none does.
    """
    num_classes = logits.shape[1]
    losses = F.cross_entropy(logits, clip_class(labels, num_classes), reduction="none")
    counted = (labels < num_classes).any(dim=1) | (not skip_empty)
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def contrastive_per_anchor(q: Tensor, k: Tensor, is_event: Tensor) -> Tensor:
    """Contrastive loss `[B, 2T]` of each segment in both views, first all of `q`, then all of `k` (CACE-Net eq. 7).

    An event segment is drawn to all other event samples of its clip, a background segment to its own second view only,
    each against all samples of the clip. A clip that is all event therefore gives the constant `log(2T - 1)` and no
    gradient. Masked before the log-sum-exp: at this temperature the plain form overflows in float32.

    Args:
        q: `[B, T, D]` features of unit length.
        k: the same of the second view.
        is_event: `[B, T]`, bool.
    """
    length = q.shape[1]
    samples = torch.cat((q, k), dim=1)
    with torch.autocast(samples.device.type, enabled=False):  # bfloat16 will not do at this temperature
        logits = samples @ samples.mT / TEMPERATURE  # [B, 2T, 2T]
    itself = torch.eye(2 * length, dtype=torch.bool, device=q.device)
    event = is_event.repeat(1, 2)
    positive = (event.unsqueeze(1) & event.unsqueeze(2) & ~itself) | itself.roll(length, dims=0)
    of_all = logits.masked_fill(itself, -torch.inf).logsumexp(dim=-1)
    of_positives = logits.masked_fill(~positive, -torch.inf).logsumexp(dim=-1)
    return of_all - of_positives + positive.sum(dim=-1).log()


def cace_net_loss(
    output: CACENetOutput, labels: Tensor, contrastive_weight: float = 1.0, *, skip_empty: bool = False
) -> CACENetLoss:
    """The published training loss of CACE-Net, which has a fifth term (`cas`) that the paper's eq. 12 does not.

    The gate is taken as a logit although it is a probability already, as published; `gate` thus never falls under
    0.31 for an event segment and 0.69 for background. With weight 0 the contrastive term is not computed and is 0.

    Args:
        output: of the network; with a weight above 0 it must hold `q` and `k`.
        labels: `[B, T]` class indices, `K` for background.
        contrastive_weight: 1 in the published recipe, but 0 in its first eighth.
        skip_empty: leave clips that are all background out of `category` and `cas`. The published loss takes them for
            clips of class 0, which is one clip in AVE but misleads where they are many.

    Raises:
        ValueError: if the contrastive term is asked for and `output` has no features for it.
    """
    num_classes = output.category_logits.shape[1]
    event = segment_loss(output.event_logits, labels, num_classes)
    category = clip_loss(output.category_logits, labels, skip_empty=skip_empty)
    gate = segment_loss(output.gate, labels, num_classes)
    cas = clip_loss(output.av_score, labels, skip_empty=skip_empty)
    contrastive = torch.zeros_like(event)
    if contrastive_weight:
        if output.q is None or output.k is None:
            raise ValueError("no contrastive features: the network needs contrastive=True, and noise outside training")
        contrastive = contrastive_per_anchor(output.q, output.k, labels < num_classes).mean()
    total = event + category + gate + cas + contrastive_weight * contrastive
    return CACENetLoss(event, category, gate, cas, contrastive, total)


def bag_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """Multi-label soft-margin loss of softmax probabilities `[B, K + 1]`, as related methods code it."""
    target = F.one_hot(categories, logits.shape[1]).to(logits.dtype)
    return F.multilabel_soft_margin_loss(logits.softmax(dim=1), target)
