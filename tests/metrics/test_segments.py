"""Decoding and accuracy of the AVE protocol at its published reference points."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.metrics.segments import decode_segments, segment_accuracy

PARITY = Path(__file__).parents[1] / "data" / "parity"
BACKGROUND = 28


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def points() -> dict[str, tuple[Tensor, Tensor, Tensor, float]]:
    """Event logits, category logits, labels and accuracy of each reference point."""
    category = torch.randint(0, 28, (64,), generator=torch.Generator().manual_seed(10))
    is_event = torch.rand(64, 10, generator=torch.Generator().manual_seed(11)) < 0.8
    logits, scores = draw(12, 64, 10), draw(13, 64, 28)
    scores[torch.arange(64), category] += 2
    labels = category.unsqueeze(1).expand(64, 10).masked_fill(~is_event, BACKGROUND)
    nothing = torch.full((64, 10), BACKGROUND)
    oracle = torch.nn.functional.one_hot(category, 28).float()
    return {
        "random": (logits, scores, labels, 30.9375),
        "all_background_labels": (logits, scores, nothing, 52.8125),
        "all_background_labels_negative_logits": (-logits.abs() - 0.1, scores, nothing, 100.0),
        "all_background_labels_positive_logits": (logits.abs() + 0.1, scores, nothing, 0.0),
        "zero_logits": (torch.zeros(64, 10), scores, labels, 18.4375),
        "oracle_gate": (is_event * 2.0 - 1, scores, labels, 63.75),
        "always_event_oracle_class": (torch.ones(64, 10), oracle, labels, 81.5625),
    }


@pytest.mark.parametrize("name", points())
def test_labels_and_accuracy_are_the_published_ones(name) -> None:
    event_logits, category_logits, labels, accuracy = points()[name]
    reference = np.load(PARITY / "cace_net.npz")
    predicted = decode_segments(event_logits, category_logits)
    np.testing.assert_array_equal(predicted.numpy(), reference[f"accuracy/{name}_pred"])
    assert segment_accuracy(predicted, labels) == accuracy == float(reference[f"accuracy/{name}"])


def test_an_even_chance_is_background_and_anything_above_is_an_event() -> None:
    labels = decode_segments(torch.tensor([[0.0, 1e-3, -1e-3]]), torch.tensor([[0.1, 0.9]]))
    assert labels.tolist() == [[2, 1, 2]]


def test_each_clip_has_its_own_category_in_all_its_events() -> None:
    labels = decode_segments(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]))
    assert labels.tolist() == [[1, 3], [0, 0]]


def test_accuracy_of_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        segment_accuracy(torch.zeros(2, 10), torch.zeros(2, 9))
    with pytest.raises(ValueError, match="cannot compare"):
        segment_accuracy(torch.zeros(0, 10), torch.zeros(0, 10))
