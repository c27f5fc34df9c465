"""What is judged of clips, and which weights may be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from avel_cli.errors import UsageError
from avel_cli.evaluation import clips
from tests.training.made_clips import MadeClips


def test_weights_for_as_many_other_labels_are_refused_and_the_first_is_named() -> None:
    made = MadeClips(4)
    clips.check_labels(list(made.names), made, "x.safetensors")
    text = "^x.safetensors knows other labels than the data: label 2 is 'church bell' there, 'bark' here$"
    with pytest.raises(UsageError, match=text):
        clips.check_labels(["anvil", "church bell", "bark"], made, "x.safetensors")


def test_what_fills_a_short_clip_is_in_no_figure() -> None:
    def everywhere_an_anvil(audio: Tensor, visual: Tensor) -> SimpleNamespace:
        category = torch.nn.functional.one_hot(torch.zeros(len(audio), dtype=torch.int64), 3)
        return SimpleNamespace(event_logits=torch.ones(len(audio), 10), category_logits=category.float())

    made = MadeClips(2)
    segments = torch.tensor([[0] * 4 + [3] * 6, [0, 0, 3, 3] + [3] * 6])
    made.labels = torch.nn.functional.one_hot(segments, 4).float()
    made.filled = (torch.arange(10) >= 4).repeat(2, 1)  # type: ignore[attr-defined]
    figures = clips.figures(everywhere_an_anvil, made)
    assert clips.accuracy(everywhere_an_anvil, made) == figures.accuracy == 75
    assert (figures.segments, figures.background_rate, figures.event_f1) == (8, 0, 100)
    assert figures.confusion == ((6, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (2, 0, 0, 0))
    assert figures.reference == {"always background": 25, "perfect category, never background": 75}
