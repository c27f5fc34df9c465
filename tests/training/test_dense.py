import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avel_cli import recipes
from avel_cli.datasets.dense import Sample
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.localizers.dense.windows import Rows as FeatureRows
from avel_cli.localizers.dense.windows import propose_windows
from avel_cli.localizers.loco.network import LoCo, LoCoConfig
from avel_cli.metrics.detection import Rows, evaluate
from avel_cli.tasks.base import Data
from avel_cli.tasks.dense import Dense, annotated
from avel_cli.timeline.grid import Grid
from avel_cli.training.batches import CropBatches
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import Learner, build, save, train

GRID = Grid(stride=0.25, window=1.0)
CLASSES = 2
TINY = str(Path(__file__).parents[1] / "data" / "loco.tiny.toml")


def data(learn, **parts):
    sizes = {"audio_dim": CLASSES, "visual_dim": CLASSES}
    return Data({"train": learn, **parts}, ("a", "b"), sizes, ("x", "y"), GRID)


def crops(samples, recipe):
    return CropBatches(data(samples), recipe, build(recipe, data(samples)))


def _sample(index):
    """Two events, each of a class that shows in one channel of either modality, among things only seen or heard."""
    rng = torch.Generator().manual_seed(index)
    steps = int(torch.randint(48, 90, (), generator=rng))
    audio, visual = (torch.randn(steps, CLASSES, generator=rng) * 0.1 for _ in range(2))
    middle = steps // 2
    segments, labels = [], []
    for low, high in ((1, middle - 1), (middle + 1, steps - 1)):
        length = int(torch.randint(5, high - low, (), generator=rng))
        start = low + int(torch.randint(high - low - length + 1, (), generator=rng))
        label, kind = torch.randint(CLASSES, (2,), generator=rng).tolist()
        audio[start : start + length, label] += 2
        if index % 2 == 0 or kind == 0 or low == 1:
            visual[start : start + length, label] += 2
            segments.append((start - 0.5, start + length - 0.5))
            labels.append(label)
    return Sample(str(index), steps / 4 + 0.75, audio, visual, torch.tensor(segments), torch.tensor(labels))


@pytest.fixture(scope="module")
def samples():
    return [_sample(index) for index in range(96)]


@pytest.fixture(scope="module")
def recipe():
    return recipes.load(Recipe, TINY)


@pytest.fixture(scope="module")
def trained(samples, recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")

    parts = data(samples[:64], val=samples[64:80])
    trained = train(recipe, parts, out, score=lambda network: Dense().figures(network, parts, "val").score)
    return trained.network, out


def _whole_video(samples):
    """Mean average precision of the right classes, each over the whole video."""
    found = [(s.name, label, s.duration) for s in samples for label in sorted(set(s.labels.tolist()))]
    rows = Rows([n for n, _, _ in found], np.array([(0, d) for _, _, d in found]), [label for _, label, _ in found])
    return evaluate(annotated(samples, GRID), rows, np.ones(len(found))).average


def test_the_tiny_recipe_finds_events_in_seconds(trained, samples, recipe):
    network, out = trained
    losses = [float(row["loss"]) for row in csv.DictReader((out / "loco.tiny-seed1.csv").read_text().splitlines())]
    assert losses[-1] < 0.5 * losses[0]
    result = Dense().figures(network, data([], test=samples[80:]), "test")
    assert result.names == ("a", "b")
    assert result.average > 2 * _whole_video(samples[80:])
    assert result.average > 50


def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(samples, recipe, tmp_path, monkeypatch):
    short = replace(recipe, schedule=replace(recipe.schedule, steps=6, every=2))
    whole = train(short, data(samples[:24]), tmp_path / "whole").network
    terms, steps = Learner.terms, []

    def dying(self, batch):
        steps.append(batch)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return terms(self, batch)

    monkeypatch.setattr(Learner, "terms", dying)
    with pytest.raises(KeyboardInterrupt):
        train(short, data(samples[:24]), tmp_path / "killed")
    resumed = train(short, data(samples[:24]), tmp_path / "killed", resume=True).network
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_the_base_network_learns_in_the_same_way(samples, recipe, tmp_path, precision):
    schedule = replace(recipe.schedule, steps=0, epochs=2, every=0, precision=precision)
    model = {"d_model": 16, "heads": 2, "unimodal_layers": 1, "levels": 3, "head_dim": 16, "dependency_dim": 4}
    base = replace(recipe, network="unav", model={**model, "max_seq_len": 32}, schedule=schedule)
    network = train(base, data(samples[:16]), tmp_path).network
    rows = list(csv.DictReader((tmp_path / "loco.tiny-seed1.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_every_epoch_shows_every_video_once_in_another_order(samples, recipe):
    batches = crops(samples[:20], recipe)  # batches of 8: the last 4 videos of each epoch are left out
    names = [batches.crop(place).name for place in range(32)]
    assert len(set(names[:16])) == len(set(names[16:])) == 16
    assert names[:16] != names[16:]
    assert all(len(batches.crop(place).audio) <= 64 for place in range(32))


def test_crops_are_drawn_anew_each_epoch_and_are_the_same_in_every_process(samples, recipe):
    batches = crops(samples[:8], recipe)
    first, again, later = batches.crop(3), batches.crop(3), [batches.crop(place) for place in range(8, 16)]
    assert torch.equal(first.audio, again.audio)
    same_video = next(crop for crop in later if crop.name == first.name)
    assert same_video.audio.shape != first.audio.shape or not torch.equal(same_video.audio, first.audio)


def test_a_wrong_switch_is_said_before_anything_is_read():
    with pytest.raises(UsageError, match="'cpd' is not one of cdp"):
        recipes.load(Recipe, TINY, ["model.perception=cpd"])


def test_weights_say_how_they_are_used(trained, recipe, tmp_path):
    network, _ = trained
    path = tmp_path / "w.safetensors"
    save(network, recipe, data([]), path, {"mAP": 1.0})
    header = weights_file.read_header(path)
    assert (header["network"], header["steps"], header["grid"]["stride"]) == ("loco", 64, 0.25)
    again = LoCo(weights_file.config(LoCoConfig, path))
    weights_file.load_into(again, path)
    assert again.config == network.config


@pytest.mark.parametrize("length", [30, 64, 65, 96, 200])
def test_windows_cover_a_file_however_its_features_arrive(trained, length):
    network, _ = trained
    torch.manual_seed(0)
    rows = FeatureRows.of(torch.randn(length, CLASSES), torch.randn(length, CLASSES))
    whole = list(propose_windows(network, [rows], 64))
    blocks = [rows.part(first, first + 7) for first in range(0, length, 7)]
    parts = list(propose_windows(network, blocks, 64))
    assert [first for first, _ in whole] == list(range(0, max(length - 32, 1), 32))
    for (first, a), (other, b) in zip(whole, parts, strict=True):
        assert first == other
        np.testing.assert_array_equal(a.segments, b.segments)


class Everywhere(nn.Module):
    """Proposes one class around every step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, audio, visual, mask):
        steps = audio.shape[1]
        return DenseOutput((torch.zeros(1, steps, 1),), (torch.ones(1, steps, 1, 2),), (mask,), (1,))


@pytest.mark.parametrize("length", [30, 64, 65, 96, 128, 200])
def test_every_step_proposes_in_one_window_the_one_with_most_around_it(length):
    rows = FeatureRows.of(torch.zeros(length, 1), torch.zeros(length, 1))
    windows = list(propose_windows(Everywhere(), [rows], 64))
    points = [(first, first + found.segments.mean(axis=1)) for first, found in windows]
    assert sorted(np.concatenate([found for _, found in points]).tolist()) == list(range(length))
    assert all(found.min() >= first + 16 for first, found in points[1:])
    assert all(found.max() < first + 48 for first, found in points[:-1])


def test_nothing_is_proposed_where_nothing_is_present(trained, samples):
    network, _ = trained
    sample = samples[90]
    present = torch.ones(len(sample.audio), dtype=torch.bool)
    rows = FeatureRows(sample.audio, sample.visual, present, torch.ones_like(present))
    middle = slice(32, 64)
    (_, before), *_ = propose_windows(network, [rows], 96)
    present[middle] = False
    (_, after), *_ = propose_windows(network, [rows], 96)
    assert 0 < len(after.labels) < len(before.labels)
    (_, none), *_ = propose_windows(network, [rows._replace(seen=torch.zeros_like(present))], 96)
    assert not len(none.labels)
