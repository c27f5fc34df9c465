"""The losses of CCLN beside plain loops, and what they must do where a batch has nothing for them."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avel_cli.localizers.ccln.branch import CrossModalOutput
from avel_cli.localizers.ccln.loss import (
    CCLNWeights,
    bag_loss,
    ccln_loss,
    contrast,
    cross_modal_loss,
    fee_loss,
    pair_loss,
    wccl_loss,
    weak_ccln_loss,
)
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig, CCLNOutput
from avel_cli.metrics.segments import decode_segments, segment_accuracy

K = 5
LABELS = torch.tensor([[5, 1, 1, 5, 5, 1], [0] * 6, [5, 5, 5, 5, 2, 2], [5] * 6, [1, 5, 5, 5, 5, 5]])
CATEGORIES = torch.tensor([1, 0, 2, 5, 1])
VIDEOS = torch.tensor([7, 8, 7, 9, 10])  # the first and the third clip are one video under two categories


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def cosine(x: Tensor, y: Tensor) -> float:
    return float(x @ y / (x.norm() * y.norm()))


def fee_by_hand(features: Tensor, event: Tensor, background: Tensor) -> float:
    clips = []
    for z, events, scenes in zip(features, event.tolist(), background.tolist(), strict=True):
        total = weights = 0.0
        for i in [i for i, is_event in enumerate(events) if is_event]:
            for j in [j for j, is_scene in enumerate(scenes) if is_scene]:
                c = cosine(z[i], z[j])
                w = math.exp(-abs(i - j) / 2) * math.exp((c - 1) / 0.1)
                total, weights = total + w * max(0.0, 0.6 - (1 - c)), weights + w
        if weights:
            clips.append(total / weights)
    return sum(clips) / len(clips) if clips else 0.0


def contrast_by_hand(x: Tensor, y: Tensor, categories: Tensor, videos: Tensor | None, tau: float) -> float:
    c, v = categories.tolist(), None if videos is None else videos.tolist()
    anchors = [i for i in range(len(c)) if c[i] < K]
    losses = []
    for i in anchors:
        seen = [k for k in range(len(c)) if not (v and v[k] == v[i] and c[k] != c[i])]
        every = sum(math.exp(cosine(x[i], y[k]) / tau) for k in seen)
        positives = [p for p in seen if c[p] == c[i]]
        losses.append(-sum(math.log(math.exp(cosine(x[i], y[p]) / tau) / every) for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


def test_fee_is_what_a_loop_over_pairs_gives() -> None:
    features = draw(1, 5, 1, 8) + draw(2, 5, 6, 8)
    event = LABELS < K
    expected = fee_by_hand(features, event, ~event)
    assert expected > 0.01
    assert fee_loss(features, event, ~event).item() == pytest.approx(expected, rel=1e-9)
    unsure = event & (torch.arange(6) % 2 == 0)
    assert fee_loss(features, unsure, ~event).item() == pytest.approx(fee_by_hand(features, unsure, ~event), rel=1e-9)


@pytest.mark.parametrize("event", [torch.zeros(2, 4), torch.ones(2, 4)])
def test_fee_is_zero_and_so_is_its_gradient_where_no_clip_has_both_kinds(event) -> None:
    features = draw(1, 2, 4, 8).requires_grad_()
    loss = fee_loss(features, event.bool(), ~event.bool())
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None and not features.grad.any()


def test_fee_takes_no_gradient_through_its_weights() -> None:
    """Two pairs of one event: the gradient is that of the hinges, the weights being constants."""
    features = draw(3, 1, 1, 8) + 0.5 * draw(4, 1, 3, 8)
    event = torch.tensor([[True, False, False]])

    def cosines(z: Tensor) -> Tensor:
        return torch.stack([F.cosine_similarity(z[0, 0], z[0, j], dim=0) for j in (1, 2)])

    fixed = cosines(features)
    weights = torch.exp(torch.tensor([-0.5, -1.0]) + (fixed - 1) / 0.1)
    one, other = features.clone().requires_grad_(), features.clone().requires_grad_()
    fee_loss(one, event, ~event).backward()
    ((weights * (cosines(other) - 0.4).relu()).sum() / weights.sum()).backward()
    torch.testing.assert_close(one.grad, other.grad)
    assert one.grad is not None and one.grad.any()


def test_fee_lets_segments_rest_that_are_far_enough_apart() -> None:
    features = torch.eye(4).unsqueeze(0)
    event = torch.tensor([[True, True, False, False]])
    assert fee_loss(features, event, ~event).item() == 0
    assert fee_loss(torch.ones(1, 4, 4), event, ~event).item() == pytest.approx(0.6)


@pytest.mark.parametrize("videos", [None, VIDEOS])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_contrast_is_what_a_loop_over_anchors_gives(videos, tau) -> None:
    x, y = draw(5, 5, 8), draw(6, 5, 8)
    ours = contrast(x, y, CATEGORIES, K, videos, tau).item()
    assert ours == pytest.approx(contrast_by_hand(x, y, CATEGORIES, videos, tau), rel=1e-9)


def test_masked_duplicates_contribute_nothing() -> None:
    """Of clips 0 and 2, one video under two categories, neither is pushed off by the other."""
    x, y = draw(5, 5, 8), draw(6, 5, 8).requires_grad_()
    only_first = torch.tensor([1, 5, 5, 5, 5])  # clip 0 is the one anchor, and clip 2 a clip of another category

    def pull(videos: Tensor | None) -> Tensor:
        return torch.autograd.grad(contrast(x, y, only_first, K, videos, 0.1), y)[0].abs().sum(dim=1)

    assert pull(None)[2] > 0
    assert pull(VIDEOS)[2] == 0 and pull(VIDEOS)[1] > 0
    moved = torch.cat((y[:2], -3 * y[2:3], y[3:]))
    assert contrast(x, y, only_first, K, VIDEOS, 0.1) == contrast(x, moved, only_first, K, VIDEOS, 0.1)
    pair = torch.tensor([1, 2])
    assert contrast(x[:2], y[:2], pair, K, torch.tensor([7, 7]), 0.1).item() == 0


def test_copies_of_a_video_under_one_category_stay_positives() -> None:
    x, y, same = draw(5, 3, 8), draw(6, 3, 8), torch.tensor([1, 1, 2])
    assert contrast(x, y, same, K, torch.tensor([7, 7, 8]), 0.1) == contrast(x, y, same, K, None, 0.1)


def test_contrast_is_zero_and_finite_without_anchors() -> None:
    x = draw(5, 3, 8).requires_grad_()
    loss = contrast(x, draw(6, 3, 8), torch.full((3,), K), K, None, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None and not x.grad.any()


def test_clips_without_an_event_are_negatives() -> None:
    x, y = draw(5, 3, 8), draw(6, 3, 8)
    with_empty = contrast(x, y, torch.tensor([0, 1, K]), K, None, 0.1)
    assert with_empty > contrast(x[:2], y[:2], torch.tensor([0, 1]), K, None, 0.1)


def test_wccl_joins_both_directions_and_the_fused_view() -> None:
    views = [draw(seed, 5, 8) for seed in (5, 6, 7)]
    output = CCLNOutput(*(torch.zeros(1),) * 6, *views)
    a, v, f = views

    def one(x: Tensor, y: Tensor) -> float:
        return contrast_by_hand(x, y, CATEGORIES, VIDEOS, 0.1)

    expected = (one(v, a) + one(a, v)) / 2 + 0.5 * (one(f, a) + one(f, v)) / 2
    ours = wccl_loss(output, CATEGORIES, K, VIDEOS, CCLNWeights())
    assert ours.item() == pytest.approx(expected, rel=1e-9)
    scaled = wccl_loss(output, CATEGORIES, K, VIDEOS, CCLNWeights(scale_by_tau=True))
    assert scaled.item() == pytest.approx(0.1 * expected, rel=1e-9)
    alone = CrossModalOutput(torch.zeros(1), torch.zeros(1), a, v)
    ours = wccl_loss(alone, CATEGORIES, K, VIDEOS, CCLNWeights())
    assert ours.item() == pytest.approx((one(v, a) + one(a, v)) / 2, rel=1e-9)


def made_up(outputs: int) -> CCLNOutput:
    clip = draw(11, 5, outputs)
    views = (draw(15, 5, 8), draw(16, 5, 8), draw(17, 5, 8))
    branch = draw(13, 5, outputs), draw(14, 5, outputs)
    return CCLNOutput(draw(10, 5, 6), clip[:, :K], clip, draw(12, 5, 1, 8) + draw(18, 5, 6, 8), *branch, *views)


def test_the_total_with_segment_labels_is_the_weighted_sum_of_its_terms() -> None:
    output, event = made_up(K), LABELS < K
    loss = ccln_loss(output, LABELS, videos=VIDEOS)
    target = torch.tensor([1, 0, 2, 0, 1])  # as published, a clip without an event counts as the first category
    assert loss.event.item() == pytest.approx(
        F.binary_cross_entropy_with_logits(output.event_logits, event.double()).item()
    )
    assert loss.category.item() == pytest.approx(F.cross_entropy(output.clip_logits, target).item())
    branch = F.cross_entropy(output.audio_logits, target) + F.cross_entropy(output.visual_logits, target)
    assert loss.branch.item() == pytest.approx(branch.item())
    assert loss.fee.item() == pytest.approx(fee_by_hand(output.enhanced, event, ~event))
    torch.testing.assert_close(loss.wccl, wccl_loss(output, CATEGORIES, K, VIDEOS, CCLNWeights()))
    total = loss.event + loss.category + 0.5 * loss.branch + 0.1 * loss.fee + 0.1 * loss.wccl
    torch.testing.assert_close(loss.total, total)


def test_clips_without_an_event_can_be_left_out_of_the_losses_of_clips() -> None:
    output, kept = made_up(K), torch.tensor([0, 1, 2, 4])
    target = CATEGORIES[kept]
    loss = ccln_loss(output, LABELS, CCLNWeights(skip_empty=True))
    assert loss.category.item() == pytest.approx(F.cross_entropy(output.clip_logits[kept], target).item())
    branch = F.cross_entropy(output.audio_logits[kept], target) + F.cross_entropy(output.visual_logits[kept], target)
    assert loss.branch.item() == pytest.approx(branch.item())


def soft_margin(logits: Tensor, categories: Tensor) -> float:
    """Mean over clips and outputs of the binary losses of softmax probabilities taken as logits."""
    losses = []
    for row, category in zip(logits.softmax(1).tolist(), categories.tolist(), strict=True):
        losses += [math.log(1 + math.exp(-p if k == category else p)) for k, p in enumerate(row)]
    return sum(losses) / len(losses)


def test_the_total_with_clip_labels_is_the_weighted_sum_of_its_terms() -> None:
    output = made_up(K + 1)
    output = output._replace(event_logits=3 * output.event_logits)
    relevance = output.event_logits.sigmoid()
    scores = torch.stack([relevance[:, t, None] * output.clip_logits for t in range(6)])
    loss = weak_ccln_loss(output, CATEGORIES, videos=VIDEOS)
    assert loss.category.item() == pytest.approx(soft_margin(scores.amax(0), CATEGORIES))
    branch = soft_margin(output.audio_logits, CATEGORIES) + soft_margin(output.visual_logits, CATEGORIES)
    assert loss.branch.item() == pytest.approx(branch)
    assert loss.fee.item() == pytest.approx(fee_by_hand(output.enhanced, relevance > 0.7, relevance < 0.3))
    torch.testing.assert_close(loss.total, loss.category + 0.5 * loss.branch + 0.1 * loss.fee + 0.1 * loss.wccl)
    late = weak_ccln_loss(output, CATEGORIES, replace(CCLNWeights(), fee=0.0), videos=VIDEOS)
    torch.testing.assert_close(loss.total - late.total, 0.1 * loss.fee)


def test_what_is_switched_off_costs_nothing() -> None:
    output = CCLNOutput(*made_up(K)[:3], None)
    loss = ccln_loss(output, LABELS)
    assert loss.branch == loss.fee == loss.wccl == 0
    torch.testing.assert_close(loss.total, loss.event + loss.category)


@pytest.mark.parametrize("empty", [LABELS[3:4].expand(4, 6), LABELS[1:2].expand(4, 6)])
@pytest.mark.parametrize("task", ["full", "weak"])
def test_a_batch_of_one_kind_of_clips_trains_without_a_nan(empty, task) -> None:
    torch.manual_seed(0)
    network = CCLN(CCLNConfig(8, 8, K, 16, task))
    output = network(torch.rand(4, 6, 8), torch.rand(4, 6, 2, 2, 8))
    loss = (
        ccln_loss(output, empty, CCLNWeights(skip_empty=True))
        if task == "full"
        else weak_ccln_loss(output, empty.amin(dim=1))
    )
    loss.total.backward()
    assert loss.fee == 0
    assert (loss.wccl == 0) == bool((empty == K).all())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_the_contrast_keeps_its_precision_under_autocast() -> None:
    x, y = draw(5, 5, 8).float(), draw(6, 5, 8).float()
    plain = contrast(x, y, CATEGORIES, K, None, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert contrast(x, y, CATEGORIES, K, None, 0.1) == plain
        assert contrast(x.bfloat16(), y.bfloat16(), CATEGORIES, K, None, 0.1).dtype is torch.float32


def test_pairs_draw_together_in_events_and_part_elsewhere() -> None:
    audio, visual = draw(8, 2, 3, 4), draw(9, 2, 3, 4)
    event = torch.tensor([[True, False, False], [True, True, False]])
    losses = []
    for b, t in [(b, t) for b in range(2) for t in range(3)]:
        distance = math.dist(audio[b, t].tolist(), visual[b, t].tolist())
        losses.append(distance**2 if event[b, t] else max(2 - distance, 0) ** 2)
    assert pair_loss(audio, visual, event).item() == pytest.approx(sum(losses) / 6)
    same = audio.clone().requires_grad_()
    pair_loss(same, audio, event).backward()
    assert same.grad is not None and same.grad.isfinite().all()


def test_the_branch_alone_learns_from_pairs_and_clips() -> None:
    output = CrossModalOutput(draw(1, 5, 6, 8), draw(2, 5, 6, 8), draw(3, 5, 8), draw(4, 5, 8))
    loss = cross_modal_loss(output, LABELS, K, VIDEOS, CCLNWeights())
    contrasted = wccl_loss(output, CATEGORIES, K, VIDEOS, CCLNWeights())
    torch.testing.assert_close(loss, pair_loss(output.audio, output.visual, LABELS < K) + contrasted)


def test_the_bag_loss_is_least_for_the_right_bag() -> None:
    right = bag_loss(10 * torch.eye(4), torch.arange(4))
    assert right < bag_loss(torch.zeros(4, 4), torch.arange(4)) < bag_loss(10 * torch.eye(4).flip(0), torch.arange(4))


@pytest.mark.parametrize("task", ["full", "weak"])
def test_a_few_steps_learn_categories_and_with_segment_labels_segments(task) -> None:
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    marks = torch.randn(4, 12, generator=rng)
    network = CCLN(CCLNConfig(12, 12, 4, 16, task))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        category = torch.randint(4, (16, 1), generator=rng)
        place, start = torch.arange(6), torch.randint(0, 4, (16, 1), generator=rng)
        event = (place >= start) & (place < start + 3)
        noise = torch.randn(2, 16, 6, 12, generator=rng) / 2
        shown = event.unsqueeze(2) * marks[category]
        visual = (noise[1] + shown)[:, :, None, None].expand(-1, -1, 2, 2, -1)
        return noise[0] + shown, visual, category.where(event, 4)

    for _ in range(60):
        audio, visual, labels = batch()
        output = network(audio, visual)
        loss = ccln_loss(output, labels) if task == "full" else weak_ccln_loss(output, labels.amin(dim=1))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    audio, visual, labels = batch()
    output = network.eval()(audio, visual)
    named = (output.clip_logits.argmax(dim=1) == labels.amin(dim=1)).sum().item()
    accuracy = segment_accuracy(decode_segments(*output.decodable), labels)
    assert named >= 15
    assert accuracy >= 90 or task == "weak"
