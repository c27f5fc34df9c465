"""Losses of the dense-event networks: published targets and values, and what the correspondence is known for."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avel_cli.localizers.dense.blocks import Correspondence, DenseOutput
from avel_cli.localizers.dense.loss import (
    DenseTargets,
    LossNormaliser,
    assign_labels,
    correspondence_loss,
    correspondence_targets,
    dense_loss,
    focal_loss,
    overlap_loss,
)
from tests.localizers.unav_reference import PARITY

LEVELS = [64, 32, 16, 8, 4, 2]
FORMS = ("kl", "normalised_ce", "density_ce")
TARGETS = ("diagonal", "softened", "fixed", "learned")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "unav_model.npz"))


def published(reference: dict[str, np.ndarray], count: int) -> tuple[DenseOutput, DenseTargets]:
    """Output of the published network for the first videos, and our targets for it."""

    def levels(name: str) -> tuple[Tensor, ...]:
        return torch.from_numpy(reference[f"b{count}_{name}"]).split(LEVELS, dim=1)

    output = DenseOutput(levels("cls_logits"), levels("offsets"), levels("mask"), (1, 2, 4, 8, 16, 32))
    segments, labels = (
        [torch.from_numpy(reference[f"gt{i}_{name}"]) for i in range(count)] for name in ("segments_grid", "labels")
    )
    return output, assign_labels(segments, labels, LEVELS, 100)


def test_labels_are_assigned_as_published(reference) -> None:
    _, targets = published(reference, 2)
    for video in range(2):
        point, label = (torch.from_numpy(column) for column in reference[f"gt{video}_cls_nonzero"].T)
        assert torch.equal(targets.classes[video].nonzero(), torch.stack((point, label), dim=1))
        np.testing.assert_array_equal(targets.offsets[video, point, label], reference[f"gt{video}_off_at_nonzero"])
        assert targets.offsets[video].count_nonzero() == 2 * len(point)


@pytest.mark.parametrize("count", [1, 2])
def test_terms_of_the_published_output_have_the_published_values(reference, count) -> None:
    normaliser = LossNormaliser()
    terms = dense_loss(*published(reference, count), normaliser)
    assert terms.keys() == {"cls", "reg", "total"}
    names = {"cls": "cls_loss", "reg": "reg_loss", "total": "final_loss"}
    expected = {ours: float(reference[f"b{count}_loss_{theirs}"]) for ours, theirs in names.items()}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)
    assert normaliser.value.item() == pytest.approx(float(reference[f"b{count}_loss_normalizer_after"]))


def assigned(*segments: tuple[float, float], labels: list[int], lengths: list[int]) -> DenseTargets:
    return assign_labels([torch.tensor(segments)], [torch.tensor(labels)], lengths, 3)


def test_a_point_on_the_edge_of_an_event_is_outside_and_on_the_edge_of_a_reach_is_within() -> None:
    targets = assigned((2, 8), labels=[1], lengths=[16, 8, 4])
    # level 0 reaches 4: steps 4 to 6; level 1 from 4 to 8: points at 4 and 6; level 2 from 8: none
    assert targets.classes[0, :, 1].nonzero().flatten().tolist() == [4, 5, 6, 16 + 2, 16 + 3]
    assert targets.offsets[0, 16 + 2, 1].tolist() == [1, 2]


def test_the_last_level_reaches_any_distance_and_the_later_event_of_a_class_wins() -> None:
    assert assigned((-900, 900), labels=[0], lengths=[16, 8, 4]).classes[0, :, 0].nonzero().flatten().tolist() == [
        *range(24, 28)
    ]
    targets = assigned((-1, 3), (-1, 2), (-1, 3), labels=[0, 0, 2], lengths=[4])
    assert targets.offsets[0, 1, 0].tolist() == [2, 1] and targets.offsets[0, 2, 0].tolist() == [3, 1]
    assert targets.offsets[0, 1, 2].tolist() == [2, 2]


def test_a_video_without_events_has_no_regression_and_a_finite_loss() -> None:
    targets = assign_labels([torch.zeros(0, 2)], [torch.zeros(0, dtype=torch.long)], [4], 3)
    logits, offsets = torch.zeros(1, 4, 3, requires_grad=True), torch.ones(1, 4, 3, 2, requires_grad=True)
    output = DenseOutput((logits,), (offsets,), (torch.ones(1, 4, dtype=torch.bool),), (1,))
    normaliser = LossNormaliser(2.0)
    terms = dense_loss(output, targets, normaliser)
    terms["total"].backward()
    assert terms["reg"] == 0 and terms["cls"].isfinite() and logits.grad.isfinite().all()
    assert normaliser.value.item() == pytest.approx(1.9)  # no positive point counts as one


def test_padding_has_no_say(reference) -> None:
    output, targets = published(reference, 2)
    terms = dense_loss(output, targets, LossNormaliser())
    noisy = [x + 9.0 * ~m.unsqueeze(-1) for x, m in zip(output.logits, output.masks, strict=True)]
    everywhere = targets._replace(classes=targets.classes.masked_fill(~torch.cat(output.masks, 1).unsqueeze(-1), 1))
    assert dense_loss(output._replace(logits=tuple(noisy)), everywhere, LossNormaliser()) == terms


def test_focal_loss_is_its_formula() -> None:
    logits, targets = torch.tensor([2.0, 2.0, -3.0]), torch.tensor([1.0, 0.0, 1.0])
    p = logits.sigmoid()
    expected = [-0.25 * (1 - p[0]) ** 2 * p[0].log(), -0.75 * p[1] ** 2 * (1 - p[1]).log()]
    expected.append(-0.25 * (1 - p[2]) ** 2 * p[2].log())
    torch.testing.assert_close(focal_loss(logits, targets), torch.stack(expected))


def test_overlap_losses_of_a_known_pair() -> None:
    ours, theirs = torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([[2.0, 2.0], [2.0, 2.0]])
    # shared 1 + 2 = 3, hull 2 + 3 = 5, centres 1 apart
    torch.testing.assert_close(overlap_loss(ours, theirs, "giou"), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(overlap_loss(ours, theirs), torch.tensor([0.4 + 1 / 25, 0.0]))


def test_the_normaliser_moves_in_training_only_and_is_part_of_the_state() -> None:
    normaliser = LossNormaliser(300.0)
    assert normaliser(torch.tensor(100)).item() == pytest.approx(280)
    assert normaliser.eval()(torch.tensor(0)).item() == pytest.approx(280)
    restored = LossNormaliser()
    restored.load_state_dict(normaliser.state_dict())
    assert restored.value.item() == pytest.approx(280)


def given(form: str = "kl", targets: str = "learned", **changes: Tensor) -> Correspondence:
    """Two videos of 7 and 4 steps with features that mean nothing."""
    generator = torch.Generator().manual_seed(0)
    audio, visual = (F.normalize(torch.randn(2, 7, 6, generator=generator), dim=-1) for _ in range(2))
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    values = {"audio": audio, "visual": visual, "mask": mask, "tau": torch.tensor(0.5), "sigma": torch.tensor(1.5)}
    return Correspondence(**(values | changes), targets=targets, form=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("targets", TARGETS)
def test_the_correspondence_is_its_definition_step_by_step(form, targets) -> None:
    pairs = given(form, targets)
    rows = [(video, step) for video, length in enumerate((7, 4)) for step in range(length)]

    def target(i: tuple[int, int], j: tuple[int, int]) -> float:
        if i[0] != j[0]:
            return 0.0
        if targets == "diagonal":
            return float(i == j)
        if targets == "softened":
            return 0.9 if i == j else 0.1 / ((7, 4)[i[0]] - 1)
        distance = abs(i[1] - j[1]) / math.sqrt(2)
        return math.exp(-(distance**2) / (2 * 1.5**2)) / (1.5 * math.sqrt(2 * math.pi))

    losses = []
    for asking, answering in ((pairs.visual, pairs.audio), (pairs.audio, pairs.visual)):
        for i in rows:
            y = torch.tensor([target(i, j) for j in rows])
            z = y if form == "density_ce" else y / y.sum()
            found = torch.stack([asking[i] @ answering[j] / 0.5 for j in rows]).log_softmax(dim=0)
            own = torch.xlogy(z, z) if form == "kl" else torch.zeros(len(rows))
            losses.append((own - z * found).sum())
    torch.testing.assert_close(correspondence_loss(pairs), torch.stack(losses).mean())


@pytest.mark.parametrize("targets", TARGETS)
def test_neither_the_order_of_modalities_nor_of_videos_nor_padding_matters(targets) -> None:
    pairs = given(targets=targets)
    loss = correspondence_loss(pairs)
    exchanged = pairs._replace(audio=pairs.visual, visual=pairs.audio)
    turned = pairs._replace(audio=pairs.audio.flip(0), visual=pairs.visual.flip(0), mask=pairs.mask.flip(0))
    padded = pairs._replace(audio=pairs.audio.masked_fill(~pairs.mask.unsqueeze(-1), torch.nan))
    longer = {"audio": (0, 0, 0, 5), "visual": (0, 0, 0, 5), "mask": (0, 5)}
    longer_pairs = pairs._replace(**{name: F.pad(getattr(pairs, name), pad) for name, pad in longer.items()})
    for other in (exchanged, turned, padded, longer_pairs):
        torch.testing.assert_close(correspondence_loss(other), loss)


def test_the_correspondence_is_zero_when_what_is_found_is_what_is_wanted() -> None:
    far_apart = torch.eye(6).unsqueeze(0) * 1.0
    perfect = given(
        targets="diagonal", audio=far_apart, visual=far_apart, mask=torch.ones(1, 6, dtype=torch.bool),
        tau=torch.tensor(0.01),
    )  # fmt: skip
    assert correspondence_loss(perfect).abs().item() < 1e-6
    no_difference = torch.ones(1, 6, 6) / math.sqrt(6)
    even = perfect._replace(audio=no_difference, visual=no_difference, targets="learned", sigma=torch.tensor(1e6))
    assert correspondence_loss(even).abs().item() < 1e-6
    single = given(mask=torch.tensor([[True] + [False] * 6, [False] * 7]))
    for targets in TARGETS:
        assert correspondence_loss(single._replace(targets=targets)) == 0


def test_with_the_diagonal_it_is_symmetric_info_nce() -> None:
    pairs = given("normalised_ce", "diagonal")
    similarities = pairs.visual[pairs.mask] @ pairs.audio[pairs.mask].T / 0.5
    same = torch.arange(11)
    expected = (F.cross_entropy(similarities, same) + F.cross_entropy(similarities.T, same)) / 2
    torch.testing.assert_close(correspondence_loss(pairs), expected)
    torch.testing.assert_close(correspondence_loss(pairs._replace(form="kl")), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 32.0])
def test_gradients_are_finite_and_reach_features_temperature_and_width(form, sigma) -> None:
    plain = given()
    leaves = [x.clone().requires_grad_() for x in (plain.audio, plain.visual, plain.tau, torch.tensor(sigma))]
    named = dict(zip(("audio", "visual", "tau", "sigma"), leaves, strict=True))
    correspondence_loss(given(form, **named)).backward()
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().max() > 0


def test_only_the_divergence_finds_the_width_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    wave = torch.randn(1, 64, 200, generator=generator)
    kernel = torch.exp(-(torch.arange(-12.0, 13.0) ** 2) / (2 * 3.0**2)).view(1, 1, -1)
    coherent = F.conv1d(wave.mT.flatten(0, 1).unsqueeze(1), kernel, padding=12).squeeze(1).T.unsqueeze(0)
    coherent = F.normalize(coherent, dim=-1)
    mask = torch.ones(1, 64, dtype=torch.bool)
    widths = [0.3, 1.0, 4.0, 16.0]

    def best(form: str) -> float:
        pairs = given(form, audio=coherent, visual=coherent, mask=mask, tau=torch.tensor(0.07))
        losses = [correspondence_loss(pairs._replace(sigma=torch.tensor(width))).item() for width in widths]
        return widths[int(np.argmin(losses))]

    assert best("kl") in widths[1:3]
    assert best("normalised_ce") == 0.3


def test_steps_are_drawn_less_the_farther_they_are_and_never_to_other_videos() -> None:
    drawn = correspondence_targets(given()).exp()
    assert torch.equal(drawn, drawn.T) and not drawn[:7, 7:].any()
    assert (drawn[0, :7].diff() < 0).all()
    assert drawn[0, 1] / drawn[0, 0] == pytest.approx(math.exp(-0.5 / (2 * 1.5**2)))


def test_the_correspondence_has_the_weight_0_1_in_the_total(reference) -> None:
    output, targets = published(reference, 2)
    without = dense_loss(output, targets, LossNormaliser())
    terms = dense_loss(output._replace(correspondence=given()), targets, LossNormaliser())
    assert terms["lcc"] == correspondence_loss(given())
    torch.testing.assert_close(terms["total"], without["total"] + 0.1 * terms["lcc"])
