"""Per-segment labels of clips with one category each, and how many of them are right (the AVE protocol)."""

from __future__ import annotations

from torch import Tensor


def decode_segments(event_logits: Tensor, category_logits: Tensor) -> Tensor:
    """Class index of each segment, `[B, T]` int64; the number of classes `K` itself stands for background.

    An event segment, of probability strictly above 0.5, has the best category of its clip. There is no other place
    for background: the category is chosen among the `K` events.

    Args:
        event_logits: `[B, T]`.
        category_logits: `[B, K]`.
    """
    background = category_logits.shape[1]
    category = category_logits.argmax(dim=1, keepdim=True).expand(event_logits.shape)
    return category.masked_fill(event_logits.sigmoid() <= 0.5, background)


def segment_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Percentage of segments with the right label, background being a label like any other.

    Every segment counts once, however it was batched; both tensors are class indices `[N, T]`. A label of -1 stands
    for a segment that is not judged.

    Raises:
        ValueError: if the shapes differ or there is nothing to count.
    """
    judged = int((labels >= 0).sum())
    if predicted.shape != labels.shape or not judged:
        raise ValueError(f"cannot compare labels {tuple(predicted.shape)} with labels {tuple(labels.shape)}")
    return 100 * int(((predicted == labels) & (labels >= 0)).sum()) / judged
