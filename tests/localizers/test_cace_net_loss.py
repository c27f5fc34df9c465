"""The loss terms: published values, safety in float32, and the facts they are known for."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.localizers.cace_net.loss import (
    cace_net_loss,
    clip_class,
    clip_loss,
    contrastive_per_anchor,
    labels_from_one_hot,
    segment_loss,
)
from avel_cli.localizers.cace_net.network import CACENetOutput

PARITY = Path(__file__).parents[1] / "data" / "parity"


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def contrastive_case() -> tuple[Tensor, Tensor, Tensor]:
    """Two views and event masks of four clips: no event, segment 4, segments 2 to 6, all."""
    base = draw(4, 4, 1, 256).relu()
    noisy = base + 0.2 * draw(5, 4, 10, 256)
    is_event = torch.zeros(4, 10, dtype=torch.bool)
    is_event[1, 4] = is_event[2, 2:7] = is_event[3] = True
    return unit(noisy.relu().double()), unit((noisy + 0.1 * draw(6, 4, 10, 256)).relu().double()), is_event


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "cace_net.npz"))


@pytest.mark.parametrize("guide", ["co_guide", "none", "audio_guide", "visual_guide"])
def test_terms_of_the_published_outputs_have_the_published_values(reference, guide) -> None:
    names = ("is_event_on", "event_scores", "av_gate", "av_score", "q", "k")
    output = CACENetOutput(*(torch.from_numpy(reference[f"{guide}/{name}"]).double() for name in names))
    labels = torch.full((2, 10), 28)
    labels[0, 2:7] = 5
    labels[1] = 17
    loss = cace_net_loss(output, labels)
    keys = {"event": "event_on", "total": "total_on"}
    for term in loss._fields:
        theirs = float(reference[f"{guide}/loss_{keys.get(term, term)}"])
        assert getattr(loss, term).item() == pytest.approx(theirs, rel=1e-5), term


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_contrastive_loss_of_each_anchor_is_the_published_one(reference, dtype) -> None:
    q, k, is_event = contrastive_case()
    ours = contrastive_per_anchor(q.to(dtype), k.to(dtype), is_event)
    theirs = reference["contrastive/per_anchor"]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert ours.mean().item() == pytest.approx(1.15851, abs=1e-5)
    np.testing.assert_allclose(ours[3].numpy(), math.log(19), rtol=1e-6)


def test_contrastive_loss_is_finite_in_float32_where_the_plain_form_overflows() -> None:
    same = unit(torch.ones(2, 10, 8)).requires_grad_()
    is_event = torch.tensor([[True] * 5 + [False] * 5, [False] * 10])
    assert (same.detach() @ same.detach().mT / 0.01).exp().isinf().all()
    loss = contrastive_per_anchor(same, same, is_event)
    torch.testing.assert_close(loss, torch.full((2, 20), math.log(19)))
    loss.mean().backward()
    assert same.grad is not None and same.grad.isfinite().all()


def test_a_clip_that_is_all_event_teaches_the_contrastive_encoder_nothing() -> None:
    q, k, is_event = contrastive_case()
    q, k = q.float().requires_grad_(), k.float().requires_grad_()
    contrastive_per_anchor(q, k, is_event).mean().backward()
    assert q.grad is not None and k.grad is not None
    assert q.grad[3].abs().max() == 0 and k.grad[3].abs().max() == 0
    assert all(q.grad[clip].abs().max() > 0 for clip in range(3))


def test_contrastive_loss_falls_when_the_two_views_agree() -> None:
    q, k, is_event = contrastive_case()
    background = torch.zeros_like(is_event)
    assert contrastive_per_anchor(q, q, background).mean() < contrastive_per_anchor(q, k, background).mean()


def test_gate_loss_cannot_fall_below_its_floor() -> None:
    events, background = torch.zeros(1, 4, dtype=torch.long), torch.full((1, 4), 28)
    assert segment_loss(torch.ones(1, 4), events, 28).item() == pytest.approx(0.3133, abs=1e-4)
    assert segment_loss(torch.zeros(1, 4), background, 28).item() == pytest.approx(0.6931, abs=1e-4)


def test_labels_come_from_one_hot_rows_and_name_the_class_of_the_clip() -> None:
    labels = torch.tensor([[3, 2, 2, 3], [3, 3, 3, 3], [1, 1, 1, 1]])
    assert torch.equal(labels_from_one_hot(torch.nn.functional.one_hot(labels, 4)), labels)
    assert clip_class(labels, num_classes=3).tolist() == [2, 0, 1]


def test_clips_without_an_event_count_as_class_0_or_not_at_all() -> None:
    logits = draw(1, 3, 3).requires_grad_()
    labels = torch.tensor([[3, 2, 2, 3], [3, 3, 3, 3], [1, 1, 1, 1]])
    published = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 1]))
    torch.testing.assert_close(clip_loss(logits, labels), published)
    skipping = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([2, 1]))
    torch.testing.assert_close(clip_loss(logits, labels, skip_empty=True), skipping)
    assert clip_loss(logits[1:2], labels[1:2], skip_empty=True) == 0


def test_skipping_empty_clips_leaves_the_segment_terms_alone() -> None:
    output, labels = made_up_output(features=True), torch.tensor([[3, 3, 3, 3], [1, 1, 1, 1]])
    all_clips, some = cace_net_loss(output, labels), cace_net_loss(output, labels, skip_empty=True)
    assert (all_clips.event, all_clips.gate, all_clips.contrastive) == (some.event, some.gate, some.contrastive)
    assert all_clips.category != some.category and all_clips.cas != some.cas


def made_up_output(*, features: bool) -> CACENetOutput:
    q = unit(torch.rand(2, 4, 8)) if features else None
    return CACENetOutput(draw(0, 2, 4), draw(1, 2, 3), torch.rand(2, 4), draw(2, 2, 3), q, q)


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    labels = torch.tensor([[3, 2, 2, 3], [1, 1, 1, 1]])
    loss = cace_net_loss(made_up_output(features=True), labels, contrastive_weight=2.5)
    assert loss.contrastive > 0
    expected = loss.event + loss.category + loss.gate + loss.cas + 2.5 * loss.contrastive
    torch.testing.assert_close(loss.total, expected)


def test_the_contrastive_term_needs_features_only_when_it_counts() -> None:
    labels = torch.tensor([[3, 2, 2, 3], [1, 1, 1, 1]])
    assert cace_net_loss(made_up_output(features=False), labels, contrastive_weight=0.0).contrastive == 0
    with pytest.raises(ValueError, match="contrastive=True"):
        cace_net_loss(made_up_output(features=False), labels)


def test_the_contrastive_term_is_float32_under_autocast_too() -> None:
    q, k, is_event = contrastive_case()
    plain = contrastive_per_anchor(q.float(), k.float(), is_event)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive_per_anchor(q.float(), k.float(), is_event), plain)
