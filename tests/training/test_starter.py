"""Tagged localizers on composed clips: they start from the tags, learn beyond them, and go on where they stopped."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from avel_cli import localizers, recipes
from avel_cli.datasets.composed import Label
from avel_cli.datasets.composed_clips import ComposedClips
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.tagged.network import Tagged
from avel_cli.localizers.tagged.tags import TagsConfig
from avel_cli.metrics.f1 import best_f1, f1
from avel_cli.tasks.base import Data
from avel_cli.tasks.labels import Labels
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import save, train

LABELS = {name: Label(("Hum",), scenes=("tench",)) for name in ("a", "b", "c", "never")}
TINY = [
    "model.model.d_model=16",
    "schedule.batch=16",
    "schedule.warmup=5",
    "schedule.ema=0.9",
    "schedule.precision=fp32",
]
TAGS = TagsConfig(8, 1280, tuple((k,) for k in range(4)), ((),) * 4, tuple((k,) for k in range(4)), reach=0)


def tiny(name: str, steps: int, *changes: str) -> Recipe:
    return recipes.load(Recipe, name, [*TINY, f"schedule.steps={steps}", *changes])


def fresh(recipe: Recipe) -> Tagged:
    """Tags that hear and see the marks, and much else as well."""
    torch.manual_seed(recipe.seed)
    model = Tagged(recipe.config({"tags": TAGS}))
    heard, seen = (torch.eye(8)[:4] * 0.3 + torch.randn(4, 8) * 0.4 for _ in range(2))
    model.tags.picture.weight.data.copy_(torch.cat([seen, torch.zeros(4, 1272)], dim=1))
    torch.nn.init.zeros_(model.tags.picture.bias)
    sound = SimpleNamespace(tag=lambda audio: audio @ heard.T)
    model.tags.adopt(sound, SimpleNamespace(tag=lambda pooled: pooled[..., :1000]))
    model.known = torch.tensor([True, True, True, False])
    return model


def data(clips: ComposedClips) -> Data:
    parts = {"train": clips, "test": clips}
    return Data(parts, tuple(LABELS), {}, ("x", "y"), network=fresh)


@pytest.fixture(scope="module")
def clips() -> ComposedClips:
    """96 clips in which a second is an event of a label where its mark is in sound and picture; one label never is."""
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(3, (96, 1), generator=rng)
    heard, seen = (torch.rand(96, 10, generator=rng) < 0.7 for _ in range(2))
    marks = torch.nn.functional.one_hot(label, 8).float()
    audio = torch.randn(96, 10, 8, generator=rng) * 0.3 + 2 * marks * heard.unsqueeze(2)
    visual = torch.randn(96, 10, 2, 2, 8, generator=rng) * 0.3 + 2 * (marks * seen.unsqueeze(2))[:, :, None, None]
    visual = torch.nn.functional.pad(visual, (0, 1272))
    targets = torch.nn.functional.one_hot(label, 4) * (heard & seen).unsqueeze(2)
    return ComposedClips(audio, visual.half(), targets.to(torch.uint8))


@pytest.mark.parametrize("name", ["cace-net.starter", "ccln.starter"])
def test_a_network_learns_beyond_its_tags_and_leaves_alone_what_no_clip_holds(name, clips, tmp_path):
    recipe = tiny(name, 100, "schedule.lr=5e-3")
    trained = train(recipe, data(clips), tmp_path).network
    figures = Labels().figures(trained, data(clips), "test")
    assert figures.score > figures.reference["tags of both"] + 1
    assert trained.gain[3] == 0
    before = fresh(recipe).tags.state_dict()
    assert all(torch.equal(before[key], value) for key, value in trained.tags.state_dict().items())


def test_weights_hold_everything_that_is_needed_to_use_them(clips, tmp_path):
    recipe = tiny("ccln.starter", 2)
    model = train(recipe, data(clips), tmp_path).network
    save(model, recipe, data(clips), tmp_path / "own.safetensors", {"F1": 1.0})
    header = weights_file.read_header(tmp_path / "own.safetensors")
    assert (header["name"], header["network"], header["labels"]) == ("ccln.starter", "tagged", list(LABELS))
    assert recipes.build(Recipe, header["recipe"]) == recipe
    loaded = localizers.load(tmp_path / "own.safetensors").network
    expected = model.network.embed_audio(clips.audio)
    torch.testing.assert_close(loaded.embed_audio(clips.audio), expected, atol=0.02, rtol=0.02)


def test_a_run_goes_on_where_it_was_stopped(clips, tmp_path):
    recipe = tiny("ccln.starter", 6)
    whole = train(recipe, data(clips), tmp_path / "whole").network
    again = train(recipe, data(clips), tmp_path / "whole", resume=True).network
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_recipe_with_a_wrong_switch_or_parent_is_refused_before_clips_are_composed():
    with pytest.raises(UsageError, match="'both' is not one of co-guide"):
        recipes.load(Recipe, "cace-net.starter", ["model.model.guide=both"])
    with pytest.raises(UsageError, match="parent 'beast' is no label"):
        recipes.load(Recipe, "cace-net.starter", ["data.labels.dog.parent=beast"])


def test_f1_counts_segments_and_labels():
    scores, targets = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1, 0], [0, 1]])
    assert f1(scores, targets, 0.5) == pytest.approx(80.0)
    assert best_f1(scores, targets) == pytest.approx(100.0)
