"""Localizers on composed clips: CCLN learns there too, and CACE-Net as it did before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avel_cli import checkpoint, localizers, recipes
from avel_cli.datasets.composed import ComposedClips
from avel_cli.errors import UsageError
from avel_cli.evaluation.starter import localizer_accuracy
from avel_cli.localizers.cace_net import CACENet
from avel_cli.localizers.ccln import CCLN
from avel_cli.training import starter
from avel_cli.training.losses import cace_net_loss
from avel_cli.training.starter import StarterRecipe

LABELS = 3
TINY = ["model.d_model=16", "schedule.batch=16", "schedule.warmup=5", "schedule.ema=0.9", "schedule.precision=fp32"]
OFF = ["model.sbi_gate=none", "model.fee=off", "model.wccl=false", "model.branch=false"]


def tiny(name: str, steps: int, *changes: str) -> StarterRecipe:
    recipe = recipes.load(StarterRecipe, name, [*TINY, f"schedule.steps={steps}", *changes])
    return replace(recipe, labels=dict(list(recipe.labels.items())[:LABELS]))


@pytest.fixture(scope="module")
def clips() -> ComposedClips:
    """96 clips in which a second is an event of a label where its mark is in sound and picture."""
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(LABELS, (96, 1), generator=rng)
    heard, seen = (torch.rand(96, 10, generator=rng) < 0.7 for _ in range(2))
    marks = torch.nn.functional.one_hot(label, 8).float()
    audio = torch.randn(96, 10, 8, generator=rng) * 0.3 + 2 * marks * heard.unsqueeze(2)
    visual = torch.randn(96, 10, 2, 2, 8, generator=rng) * 0.3 + 2 * (marks * seen.unsqueeze(2))[:, :, None, None]
    return ComposedClips(audio, visual.half(), label.where(heard & seen, LABELS))


def test_ccln_learns_what_neither_sound_nor_picture_alone_can_tell(clips, tmp_path):
    recipe = tiny("ccln.starter", 100, "schedule.lr=5e-3")
    model = starter.train(recipe, clips, tmp_path)
    assert isinstance(model, CCLN) and not model.training
    background = 100 * (clips.targets == LABELS).double().mean().item()
    assert localizer_accuracy(model, clips) > 90 > background


def test_weights_hold_the_branch_and_everything_that_is_needed_to_use_them(clips, tmp_path):
    recipe = tiny("ccln.starter", 2)
    model = starter.train(recipe, clips, tmp_path)
    starter.save(model, recipe, tmp_path / "own.safetensors", {"accuracy": 1.0})
    header = checkpoint.read_header(tmp_path / "own.safetensors")
    assert (header["name"], header["network"], len(header["labels"])) == ("ccln.starter", "ccln", LABELS)
    assert recipes.build(StarterRecipe, header["recipe"]) == recipe
    loaded = localizers.load(tmp_path / "own.safetensors")
    torch.testing.assert_close(loaded.embed_audio(clips.audio), model.embed_audio(clips.audio), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("off", [*OFF[:3], "model.branch=false"])
def test_every_part_can_be_left_out_from_the_recipe(off, clips):
    changes = OFF[2:] if off == OFF[3] else [off]
    recipe = tiny("ccln.starter", 1, *changes)
    terms = starter.loss_terms(
        recipe.build(8, 8), recipe, 0, clips.audio[:16], clips.visual[:16].float(), clips.targets[:16]
    )
    assert {"event", "category", "branch", "fee", "wccl", "total"} == terms.keys()
    assert (terms["fee"] == 0) == ("fee" in off)
    assert (terms["wccl"] == 0) == (off in OFF[2:])
    assert (terms["branch"] == 0) == (off == OFF[3])


def test_a_run_goes_on_where_it_was_stopped(clips, tmp_path):
    recipe = tiny("ccln.starter", 6)
    whole = starter.train(recipe, clips, tmp_path / "whole")
    again = starter.train(recipe, clips, tmp_path / "whole", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_cace_net_takes_the_steps_that_it_took_before_there_was_a_choice(clips, tmp_path):
    """The loop as it was written for CACE-Net alone, in plain steps."""
    recipe = tiny("cace-net.starter", 4, "schedule.warmup=1", "contrastive_from=0.5", "schedule.ema=0")
    trained = starter.train(recipe, clips, tmp_path)
    torch.manual_seed(recipe.seed)
    model = CACENet(trained.config).train()
    heavy = [p for p in model.parameters() if p.ndim > 1]
    light = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": recipe.schedule.weight_decay}, {"params": light, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.schedule.lr)
    for step in range(4):
        rng = torch.Generator().manual_seed(recipe.seed * 10_000_000 + step)
        index = torch.randint(len(clips), (recipe.schedule.batch,), generator=rng)
        output = model(clips.audio[index], clips.visual[index].float(), enhance=step >= 2)
        weight = recipe.contrastive_weight if step >= 2 else 0.0
        loss = cace_net_loss(output, clips.targets[index], weight, skip_empty=True).total
        for group in optimizer.param_groups:
            group["lr"] = recipe.schedule.rate(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.schedule.clip)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), model.parameters(), strict=True))


def test_a_switch_of_the_other_network_is_an_unknown_key():
    with pytest.raises(UsageError, match=r'unknown recipe key "model\.guidde"; did you mean "guide"'):
        tiny("ccln.starter", 1, "model.guidde=ave")
    with pytest.raises(UsageError, match=r'unknown recipe key "model\.fee"'):
        tiny("cace-net.starter", 1, "model.fee=off")
