"""CCLN's branch by itself: it learns which sound goes with which picture, and comes back from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

from avel_cli import experiments, localizers, recipes
from avel_cli.datasets.ave_matching import Pairs
from avel_cli.evaluation.cross_modal_ave import evaluate_cross_modal
from avel_cli.metrics.matching import cross_modal_accuracy, position_baselines
from avel_cli.tasks.base import Data
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import train
from tests.datasets.ave_folder import made_up, write_ave_folder

TINY = ["schedule.batch=16", "schedule.halve_at=[]", "schedule.lr=5e-3", "model.d_model=32"]


def recipe(epochs: int) -> Recipe:
    return recipes.load(Recipe, "ccln.ave-cross-modal", [*TINY, f"schedule.epochs={epochs}"])


def data(pairs: Pairs) -> Data:
    return Data({"train": pairs}, (), {"audio_dim": 4, "visual_dim": 4}, ("vggish", "vgg19"))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """120 clips of four categories; what is heard outside of an event is not what is seen there."""
    rng = torch.Generator().manual_seed(0)
    category = torch.arange(120) % 4
    start = torch.randint(0, 6, (120, 1), generator=rng)
    event = (torch.arange(10) >= start) & (torch.arange(10) < start + 4)
    marks = torch.nn.functional.one_hot(category, 4).float().unsqueeze(1)
    heard, seen = marks * event.unsqueeze(2), (marks * event.unsqueeze(2)).flip(2)
    audio, visual = (part + 0.2 * torch.randn(120, 10, 4, generator=rng) for part in (heard, seen))
    return Pairs(audio, visual, category.unsqueeze(1).where(event, 4), torch.arange(120), 4)


def test_the_branch_learns_to_find_the_event_of_one_modality_in_the_other(pairs, tmp_path):
    learnt, held = Pairs(*(p[:80] for p in pairs[:4]), 4), Pairs(*(p[80:] for p in pairs[:4]), 4)
    branch = train(recipe(12), data(learnt), tmp_path).network
    assert not branch.training
    events = held.labels < 4
    with torch.inference_mode():
        accuracy = cross_modal_accuracy(held.audio, held.visual, events, branch.embed_audio, branch.embed_visual)
    assert accuracy.mean > 80 > 2 * max(position_baselines(events))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(pairs, tmp_path):
    whole = train(recipe(3), data(pairs), tmp_path).network
    again = train(recipe(3), data(pairs), tmp_path, resume=True).network
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    other = train(replace(recipe(3), seed=2), data(pairs), tmp_path).network
    assert not torch.equal(next(whole.parameters()), next(other.parameters()))


def test_on_a_folder_like_ave_weights_are_written_and_scored(tmp_path, capsys):
    clips = made_up(2, categories=4)
    folder = write_ave_folder(tmp_path / "AVE", clips)
    for split, rows in {"train": [0, 1, 2, 4], "test": [3, 5, 6, 7]}.items():
        with h5py.File(folder / f"{split}_order_match.h5", "w") as stream:
            stream["order"] = rows
    changes = (*TINY, "schedule.epochs=1")
    report = experiments.train("ave", "ccln-branch", [folder], changes=changes, output=tmp_path / "runs")
    assert report is not None
    assert {"ccln.ave-cross-modal, seed 1", "position alone: last"} <= {row[0] for row in report.rows}
    weights = Path(tmp_path / "runs" / "ccln.ave-cross-modal.safetensors")
    assert evaluate_cross_modal(weights, folder, device="cpu").accuracy.clips <= 4
    assert localizers.load(weights).task == "matching"
